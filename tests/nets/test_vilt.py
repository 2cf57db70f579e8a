"""ViLT's stretched positions as matrix products, against torch's own interpolation."""

import pytest

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.full  # torch and transformers take seconds to import


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (1, 7), (7, 1), (3, 12), (12, 20), (1, 1)])
def test_stretched_positions(rows, columns):
    from mmedge.nets.vilt import _stretch

    side, width, room = 4, 5, (14, 22)
    grid = torch.randn(side, side, width, generator=torch.Generator().manual_seed(rows))
    down, across = _stretch(torch.tensor([float(rows)]), room[0], side), _stretch(torch.tensor([float(columns)]), room[1], side)
    found = torch.einsum("bhi,bwj,ijd->bhwd", down, across, grid)[0, :rows, :columns]
    wanted = torch.nn.functional.interpolate(grid.permute(2, 0, 1)[None], size=(rows, columns), mode="bilinear", align_corners=True)[0].permute(1, 2, 0)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
