"""What a learner moves and watches in a notebook.

    KernelExplorer(image)                           # a kernel on an image: nine products, their sum, the map
    ReceptiveFieldExplorer()                        # what the unit in the middle of a chain of layers sees
    PyramidExplorer()                               # whose links light up: what a unit reads, and who reads a pixel
    DescentExplorer(inputs, targets)                # steps down the slope of a loss, at a learning rate of one's own
    MistakeExplorer(model, splits, "validation")    # the images that a model gets wrong, and a learner's marks

Each is a thin skin, of what ipywidgets 7.7 and 8 share, over plain functions and methods that return data or pictures.
An error shows as a red line in the widget, and is raised as well.
"""

from eva.widgets.descent_explorer import DescentExplorer
from eva.widgets.field_explorer import ReceptiveFieldExplorer
from eva.widgets.kernel_explorer import KernelExplorer
from eva.widgets.mistake_explorer import MistakeExplorer
from eva.widgets.pyramid_explorer import PyramidExplorer

__all__ = ["DescentExplorer", "KernelExplorer", "MistakeExplorer", "PyramidExplorer", "ReceptiveFieldExplorer"]
