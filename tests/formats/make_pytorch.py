"""Writes the pytorch_*.safetensors files of this folder. Ran once, with PyTorch 1.13.0 and safetensors 0.8.0."""
import pathlib

import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

here = pathlib.Path(__file__).parent
torch.manual_seed(7)
net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
net.train()
for _ in range(3):
    net(torch.randn(8, 3, 8, 8))
net.eval()
x = torch.randn(2, 3, 8, 8)
with torch.no_grad():
    y = net(x)
state = {name: value.contiguous() for name, value in net.state_dict().items()}
versions = {"format": "pt", "torch": torch.__version__, "safetensors": safetensors.__version__}
save_file(state, here / "pytorch_state_dict.safetensors", metadata=versions)
save_file({"input": x, "output": y}, here / "pytorch_state_dict_io.safetensors", metadata={"format": "pt"})
save_file({
    "half": torch.tensor([1.0, -2.5, 65504.0]).half(),
    "brain": torch.tensor([1.5, -3.0]).bfloat16(),
    "flags": torch.tensor([True, False]),
    "bytes": torch.tensor([-1, 127], dtype=torch.int8),
    "double": torch.tensor(0.1, dtype=torch.float64),
    "empty": torch.zeros(0, 3),
    "short": torch.tensor([[-300]], dtype=torch.int16),
    "int": torch.tensor([7], dtype=torch.int32),
    "u8": torch.tensor([255], dtype=torch.uint8),
}, here / "pytorch_dtypes.safetensors")
