"""Where cells lie in a layer's output: as the user says it, and as a change of the image shows it."""

import pytest
import torch
from torch import nn

import usu
from usu.models.layers import SpatialLayer, find_cells, find_layer, placed
from usu.models.passes import watched


def numbered(rows, columns, channels=2):
    """Return cells (1, C, rows, columns), all different."""
    return torch.arange(float(channels * rows * columns)).view(1, channels, rows, columns)


def in_a_row(cells):
    return cells.flatten(2).transpose(1, 2)


def test_prefix_and_suffix_are_left_out():
    cells = numbered(2, 3)
    tokens = torch.cat([torch.full((1, 2, 2), -1.0), in_a_row(cells), torch.full((1, 4, 2), -2.0)], 1)
    assert torch.equal(usu.Tokens((2, 3), prefix=2, suffix=4).cells(tokens), cells)


def test_columns_first_and_any_order():
    cells = numbered(2, 3)
    by_columns = in_a_row(cells.transpose(2, 3).contiguous())
    assert torch.equal(usu.Tokens((2, 3), order="columns").cells(by_columns), cells)
    shuffled = [4, 0, 3, 1, 5, 2]  # token i holds cell shuffled[i]
    places = [shuffled.index(cell) for cell in range(6)]
    assert torch.equal(usu.Tokens((2, 3), order=places).cells(in_a_row(cells)[:, shuffled]), cells)


@pytest.mark.parametrize(
    ("axis", "give"),
    [
        (0, lambda cells: in_a_row(cells).transpose(0, 1)),
        (1, in_a_row),
        (2, lambda cells: cells.flatten(2)),
        (1, lambda cells: cells.permute(0, 2, 3, 1)),
        (2, lambda cells: cells),
    ],
)
def test_axes(axis, give):
    cells = numbered(2, 3)
    assert torch.equal(usu.Tokens((2, 3), axis=axis).cells(give(cells)), cells)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (0, 3)}, r"grid must be \(rows, columns\)"),
        ({"prefix": -1}, "prefix must be at least 0"),
        ({"axis": 3}, "axis must be 0, 1 or 2"),
        ({"order": "spiral"}, "order must be 'rows', 'columns'"),
        ({"order": [0, 1, 2]}, "order must give each of 6 cells"),
        ({"order": [0, 1, 2, 3, 4, 6]}, "places from 0 to 5"),
    ],
)
def test_bad_layouts(options, message):
    with pytest.raises(ValueError, match=message):
        usu.Tokens(**{"grid": (2, 3), **options})
    with pytest.raises(TypeError, match="suffix must be a number"):
        usu.Tokens((2, 3), suffix=1.5)


def test_tokens_that_do_not_add_up_are_refused():
    with pytest.raises(ValueError, match=r"layer's 8: got prefix 1 \+ 2 × 3 \+ suffix 0 = 7"):
        usu.Tokens((2, 3), prefix=1).cells(torch.zeros(1, 8, 2))


class Layers(nn.Module):
    """Patches of 4 × 4 pixels whose tokens go through `arrange` and attention."""

    def __init__(self, arrange, back=lambda tokens: tokens):
        super().__init__()
        torch.manual_seed(0)
        self.arrange, self.back = arrange, back
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.mixed = nn.Identity()
        self.block = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, batch):
        tokens = self.mixed(self.arrange(self.patches(batch)))
        return self.head(self.norm(self.block(self.back(tokens))).mean(1))


def images(*size, count=1):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def place(model, name, batch):
    with watched(model, batch) as seen, torch.no_grad():
        shapes = []
        handle = model.get_submodule(name).register_forward_hook(
            lambda _, __, output: shapes.append(tuple(output.shape))
        )
        model(batch)
        handle.remove()
    layer = SpatialLayer(name, model.get_submodule(name))
    return placed(model, batch[:1], layer, 0, shapes[0], seen)[0]


SHUFFLED = torch.randperm(24, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("arrange", "back", "expected"),
    [
        (in_a_row, lambda tokens: tokens, usu.Tokens((4, 6))),
        (
            lambda cells: in_a_row(cells.transpose(2, 3)),
            lambda tokens: tokens,
            usu.Tokens((4, 6), order="columns"),
        ),
        (
            lambda cells: in_a_row(cells)[:, SHUFFLED],
            lambda tokens: tokens,
            usu.Tokens((4, 6), order=SHUFFLED.argsort().tolist()),
        ),
        (
            lambda cells: in_a_row(cells).transpose(0, 1),
            lambda tokens: tokens.transpose(0, 1),
            usu.Tokens((4, 6), axis=0),
        ),
        (
            lambda cells: torch.cat([in_a_row(cells), torch.ones(len(cells), 7, 16)], 1),
            lambda tokens: tokens,
            usu.Tokens((4, 6), suffix=7),
        ),
        (lambda cells: cells.flatten(2), lambda tokens: tokens.mT, usu.Tokens((4, 6), axis=2)),
    ],
)
@pytest.mark.parametrize("name", ["mixed", "norm"])
def test_a_change_of_the_image_shows_the_layout(arrange, back, expected, name):
    found = place(Layers(arrange, back).eval(), name, images(16, 24))
    if name == "norm":  # comes after `back`
        expected = usu.Tokens(expected.grid, expected.prefix, expected.suffix, expected.order)
    assert found == expected


def test_a_batch_as_long_as_the_sequence_is_told_by_one_image():
    model = Layers(lambda cells: in_a_row(cells).transpose(0, 1), lambda tokens: tokens.transpose(0, 1))
    assert place(model.eval(), "mixed", images(16, 24, count=24)).axis == 0
    assert place(model.eval(), "norm", images(16, 24, count=24)).axis == 1


def test_tokens_that_mix_all_patches_have_no_place():
    mixing = torch.randn(24, 24, generator=torch.Generator().manual_seed(4))
    model = Layers(lambda cells: mixing @ in_a_row(cells)).eval()
    assert place(model, "norm", images(16, 24)) is None
    with pytest.warns(UserWarning, match="cells in the patch embedding 'patches' alone"):
        found, _ = find_cells(model, images(16, 24), lambda outputs: outputs[:, 1])
    assert (found.name, found.tokens) == ("patches", usu.Tokens((4, 6), axis=2))


class HandWritten(nn.Module):
    """Attention with queries, keys and values of their own, and dropout on its weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.norm, self.attention = nn.LayerNorm(16), Attention()
        self.head = nn.Linear(16, 5)
        self.token = nn.Parameter(torch.randn(1, 1, 16))

    def forward(self, batch):
        tokens = torch.cat([self.token.expand(len(batch), -1, -1), in_a_row(self.patches(batch))], 1)
        return self.head((tokens + self.attention(self.norm(tokens)))[:, 0])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.dropout, self.whole = nn.Dropout(0.1), nn.Identity()

    def forward(self, tokens):
        weights = (self.query(tokens) @ self.key(tokens).mT / 4).softmax(-1)
        return self.whole(self.dropout(weights)) @ self.value(tokens)


def test_nothing_inside_attention_is_a_layer():
    model = HandWritten().eval()
    assert find_layer(model, images(16, 16), None)[0].name == "norm"
    for name in ("attention.dropout", "attention.whole"):  # weights (B, 17, 17), not 17 cells
        assert place(model, name, images(16, 16)) is None
