"""Fine-tune a model on a user's own pictures, in minutes on one machine, and judge it honestly.

`prepare` reads the data and parts them, `run` learns and judges, `save` writes; `finetune` does all
three. What is judged on is never learnt from, and decides nothing but whether the result may be
saved at all.
"""

from pathlib import Path

from anymask.model import Model
from anymask.train.finetune_loop import Course
from anymask.train.finetune_order import Order, Progress, prepare
from anymask.train.finetune_run import FinetuneResult, run, save


def finetune(
    data: str | Path,
    output: str | Path,
    *,
    model: str | Model | None = None,
    checkpoint: str | Path | None = None,
    method: str = "auto",
    minutes: float = 10.0,
    held_out: str | Path | None = None,
    group: str | None = None,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> FinetuneResult:
    """Teach a model a field of pictures from some with masks, and write a weight file.

    Parameters
    ----------
    data
        Pictures with masks: SA-1B's layout, COCO, LabelMe, YOLO, label maps, or folders of masks.
    output
        The weight file, ``.safetensors``; `anymask.load` takes it as ``checkpoint=``. What is
        there is never replaced.
    model, checkpoint, device
        What to begin with, and where, as `anymask.load` takes them; or a model, which is copied.
    method
        ``"frozen"``, ``"decoder"``, ``"lora"``, ``"full"``, or ``"auto"``.
    minutes
        At most so long to learn; reading and judging come on top.
    held_out
        A set to judge by; None keeps a quarter of the pictures aside.
    group
        Regular expression: pictures in whose names it finds the same are not parted.
    seed
        Of everything random.
    force
        Save what is no better, too.
    progress
        Called with what is done, how many, of how many, and more in words.

    Raises
    ------
    DataError
        The data are wrong, or too few.
    OutputError
        ``file-exists``, and others of `anymask.formats.atomic.write_atomic`.
    RunError
        ``no-gain``: it is no better on the pictures kept aside, and `force` is off.
    """
    order = Order(
        data=Path(data),
        output=Path(output),
        model=model,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        device=device,
        method=method,
        held_out=None if held_out is None else Path(held_out),
        group=group,
        course=Course(minutes=minutes, seed=seed),
        force=force,
    )
    result = run(prepare(order, progress), progress)
    save(result, order)
    return result
