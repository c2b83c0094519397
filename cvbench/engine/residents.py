"""Models that do not fit together take turns: those that were used last stay, the others go."""

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch

from cvbench.engine.memory import available
from cvbench.engine.subject import Subject

RESERVE = 2 << 30
"""Bytes that are kept free for activations when a model is loaded."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory was short; torch has a class for it on a GPU, and words on a CPU."""
    short = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return short or any(words in str(error).lower() for words in OUT_OF_MEMORY)


def free_on(device: torch.device) -> int:
    """Return how many bytes a model may still take on a device, what torch keeps for later included."""
    if device.type != "cuda":
        return available()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


class Residents:
    """The models of a run that are loaded, the least recently used first. `took_turns`: they do not fit together."""

    def __init__(self, device: torch.device, free: Callable[[torch.device], int] | None = None) -> None:
        self.device, self.free = device, free or free_on
        self.loaded: OrderedDict[str, Subject] = OrderedDict()
        self.largest = 0
        self.took_turns = False

    def in_order(self, subjects: Iterable[Subject]) -> list[Subject]:
        """Return the models that are loaded before the others, so that few have to be loaded."""
        return sorted(subjects, key=lambda subject: subject.name not in self.loaded)

    def prepare(self, subject: Subject) -> None:
        """Make room for a model that is about to be used, and remember that it is."""
        if subject.name not in self.loaded:
            while self.loaded and self.free(self.device) < RESERVE + self.largest and self.make_room(subject):
                pass
        self.loaded[subject.name] = subject
        self.loaded.move_to_end(subject.name)

    def settled(self, subject: Subject) -> None:
        """See how large a model is that was loaded."""
        self.largest = max(self.largest, subject.size)

    def make_room(self, keep: Subject) -> bool:
        """Let the model go that was not used for longest; False where none but `keep` is left that can go."""
        for name, subject in list(self.loaded.items()):
            if name != keep.name and subject.leave():
                del self.loaded[name]
                self.took_turns = True
                gc.collect()
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                return True
        return False


class Batches:
    """How many clips of a shape are coded together: as many as given, or as the device held so far."""

    MOST = 64
    FIRST = 16

    def __init__(self, given: int, device: torch.device) -> None:
        self.given, self.device = given, device
        self.sizes: dict[tuple[int, int, int], int] = {}
        self.shrunk: dict[tuple[int, int, int], int] = {}

    def size(self, shape: tuple[int, int, int]) -> int:
        """Return how many: one on a CPU, where more are no faster, and of clips, which fill a device alone."""
        first = self.given or (self.FIRST if shape[0] == 1 and self.device.type != "cpu" else 1)
        return self.sizes.get(shape, first)

    def shrink(self, shape: tuple[int, int, int], count: int) -> int:
        """Remember that `count` were too many; return half of them, 0 where it was one."""
        if count > 1:
            self.sizes[shape] = self.shrunk[shape] = count // 2
        return count // 2

    def held(self, shape: tuple[int, int, int], count: int, taken: int, free: int) -> None:
        """Remember that `count` took `taken` bytes: twice as many follow if these took a quarter of the rest."""
        can_grow = not self.given and shape[0] == 1 and shape not in self.shrunk and count == self.size(shape)
        if can_grow and self.device.type != "cpu" and 2 * count <= self.MOST and 4 * taken < free:
            self.sizes[shape] = 2 * count
