"""Policies moved to other observations, actions and widths, with what stays the same and proof."""

from heredity.policies.transfer.carry_out import transfer
from heredity.policies.transfer.plan import TransferPlan
from heredity.policies.transfer.planning import plan_transfer
from heredity.policies.transfer.spaces import changed_space

__all__ = ["TransferPlan", "changed_space", "plan_transfer", "transfer"]
