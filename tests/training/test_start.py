"""What the start of a run costs: nothing heavy is imported that the run does not use."""

import subprocess
import sys

import small_run

HEAVY = (
    "torch._dynamo",
    "torch._inductor",
    "torch.onnx",
    "torchvision",
    "spandrel",
    "tensorboard",
    "matplotlib",
    "scipy",
    "PIL",
)


def test_a_plain_run_imports_nothing_heavy_besides_torch(tmp_path):
    small_run.write_data(tmp_path)
    file = small_run.write_options(tmp_path, small_run.options(tmp_path, total_iter=1))
    code = (
        f"import sys; sys.path.insert(0, {str(small_run.ROOT)!r})\n"
        "from traiNNer.cli.train import train\n"
        f"status = train(['-opt', {str(file)!r}])\n"
        f"print('imported:', *({{*{HEAVY}}} & sys.modules.keys()))\n"
        "sys.exit(status)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "imported:"
