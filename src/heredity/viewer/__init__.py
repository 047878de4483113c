"""What a person looks at: the report of a run, and its timeline in 3-D.

It reads run folders and recordings and nothing else; what it shows was recorded by training.
"""

from heredity.viewer.group_live import GroupViewer
from heredity.viewer.live import LiveViewer, view
from heredity.viewer.report import write_report
from heredity.viewer.single import write_rollout

__all__ = ["GroupViewer", "LiveViewer", "view", "write_report", "write_rollout"]
