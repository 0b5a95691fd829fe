"""What a learner moves and watches in a notebook.

    ReceptiveFieldExplorer()                        # what the unit in the middle of a chain of layers sees
    MistakeExplorer(model, splits, "validation")    # the images that a model gets wrong, and a learner's marks

Each is a thin skin, of what ipywidgets 7.7 and 8 share, over plain functions and methods that return data or pictures.
An error shows as a red line in the widget, and is raised as well.
"""

from eva.widgets.field_explorer import ReceptiveFieldExplorer
from eva.widgets.mistake_explorer import MistakeExplorer

__all__ = ["MistakeExplorer", "ReceptiveFieldExplorer"]
