"""What is said beside training, where there is no terminal."""

from types import SimpleNamespace

import torch

from multiseg.callbacks import PlainProgress


def said(capsys, best_by="val/mIoU", **metrics):
    values = {name.replace("__", "/"): torch.tensor(value) for name, value in metrics.items()}
    trainer, method = SimpleNamespace(callback_metrics=values, global_step=10), SimpleNamespace(best_by=best_by)
    PlainProgress(20).on_validation_end(trainer, method)
    return capsys.readouterr().err


def test_the_validation_line_has_panoptic_quality_where_there_is_one(capsys):
    line = said(capsys, val__town__mIoU=40.26, val__mIoU=40.26, val__town__PQ=20.04, val__PQ=20.04, loss=1.0)
    assert line == "step 10/20  validation: town/mIoU 40.3  mIoU 40.3  town/PQ 20.0  PQ 20.0\n"
    assert said(capsys, val__town__mIoU=40.26, val__mIoU=40.26) == "step 10/20  validation: town/mIoU 40.3  mIoU 40.3\n"


def test_a_method_that_predicts_nothing_has_no_line(capsys):
    assert said(capsys, val__mIoU=float("nan"), loss=1.0) == ""


def test_a_proxy_task_tells_what_it_is_judged_by(capsys):
    line = said(capsys, "val/gain", val__town__gain=0.1234, val__town__loss=2.0, val__gain=0.1234, loss=2.1)
    assert line == "step 10/20  validation: town/gain 0.123  gain 0.123\n"
