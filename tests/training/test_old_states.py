"""A training state of an earlier version goes on as that version went on."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny import make_trainer, run_folder

from traiNNer.runtime.signals import StopSignal

OLD = Path(__file__).resolve().parents[1] / "golden/old_state"


def test_a_state_of_before_the_move_into_rooms_goes_on_to_the_same_weights(tmp_path):
    folder = run_folder(tmp_path)
    folder.training_states.mkdir(parents=True)
    shutil.copy(OLD / "10.state", folder.training_states)
    trainer = make_trainer(tmp_path)
    found = trainer.outputs.checkpointer.newest_whole_state()
    assert found is not None
    trainer.load_state_dict(found[1])
    assert trainer.progress.step == 10 and trainer.progress.best is not None
    trainer.fit(StopSignal())
    assert trainer.progress.step == 20
    for name in ("net_g_20", "net_g_ema_20"):
        then, now = (load_file(place / f"{name}.safetensors") for place in (OLD, folder.models))
        assert then.keys() == now.keys()
        for key, tensor in then.items():
            assert torch.allclose(now[key], tensor, rtol=1e-9, atol=1e-12), (name, key)
