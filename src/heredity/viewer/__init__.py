"""What a person looks at: the report of a run, and its timeline in 3-D.

It reads run folders and nothing else; what it shows was recorded by training.
"""

from heredity.viewer.live import LiveViewer, view
from heredity.viewer.report import write_report

__all__ = ["LiveViewer", "view", "write_report"]
