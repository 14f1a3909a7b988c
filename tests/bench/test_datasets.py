"""Data sets in their published layouts, written small: right labels, named faults, untouched files."""

from __future__ import annotations

import csv
import hashlib
import pickle
import shutil

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CIFAR10, ImageFolder

from usu.bench.datasets.cub200 import read_cub200
from usu.bench.datasets.files import Dataset, Item
from usu.bench.datasets.imagenet import wordnet_ids
from usu.bench.datasets.registry import DATASETS, chosen, find_dataset
from usu.models.classifier import imagenet_class_names

PICTURES = ("astronaut", "chelsea", "coffee", "rocket")
SIZE = (60, 40)
ORIENTATION = 0x0112


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """Give four photographs as JPEG files, by name."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in PICTURES:
        Image.fromarray(getattr(skimage.data, name)()).resize(SIZE).save(folder / f"{name}.jpg", quality=90)
    return {name: folder / f"{name}.jpg" for name in PICTURES}


def place(photograph, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(photograph, path)
    return path


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def labels_of(dataset):
    return {item.name: item.label for item in dataset.items}


# ImageNet

VALIDATION = {
    "n01440764/ILSVRC2012_val_00000293.JPEG": (0, "astronaut"),
    "n02123045/ILSVRC2012_val_00000073.JPEG": (281, "chelsea"),
    "n02123045/ILSVRC2012_val_00000011.JPEG": (281, "coffee"),
    "n15075141/ILSVRC2012_val_00001234.JPEG": (999, "rocket"),
}


@pytest.fixture(params=["val", "."], ids=["with val", "without val"])
def imagenet(request, tmp_path, photographs):
    for name, (_, picture) in VALIDATION.items():
        place(photographs[picture], tmp_path / request.param / name)
    return tmp_path


def test_imagenet_labels_by_wordnet_id_though_folders_are_few(imagenet):
    dataset = find_dataset("imagenet", imagenet)
    assert labels_of(dataset) == {name: label for name, (label, _) in VALIDATION.items()}
    assert [item.name for item in dataset.items] == sorted(VALIDATION)
    assert (dataset.name, dataset.class_count) == ("imagenet", 1000)
    assert imagenet_class_names()[dataset.items[1].label] == "tabby"


def test_imagenet_whole_is_as_torchvision_reads_it(tmp_path, photographs):
    small = tmp_path / "small.JPEG"
    Image.open(photographs["coffee"]).resize((4, 4)).save(small)
    for identifier in wordnet_ids():
        place(small, tmp_path / "val" / identifier / "one.JPEG")
    expected = ImageFolder(tmp_path / "val").samples
    dataset = find_dataset("imagenet", tmp_path)
    assert [(str(dataset.root / item.name), item.label) for item in dataset.items] == expected
    assert len(expected) == 1000


def test_wordnet_ids_are_timms():
    names = pytest.importorskip("timm.data").ImageNetInfo("imagenet-1k")
    assert wordnet_ids() == [names.index_to_label_name(index) for index in range(1000)]


def test_imagenet_passes_over_what_is_no_class(imagenet, photographs):
    before = find_dataset("imagenet", imagenet).items
    root = find_dataset("imagenet", imagenet).root
    place(photographs["coffee"], root / "ILSVRC2012_val_00000001.JPEG")
    place(photographs["coffee"], root / "meta" / "plan.JPEG")
    place(photographs["coffee"], root / "n01440764" / "._ILSVRC2012_val_00000293.JPEG")
    (root / "n01440764" / "notes.txt").write_text("none")
    assert find_dataset("imagenet", imagenet).items == before


def test_imagenet_in_one_folder_has_the_ids_in_its_names(tmp_path, photographs):
    for name in ("n01440764_tench.JPEG", "n15075141_toilet_tissue.JPEG"):
        place(photographs["coffee"], tmp_path / name)
    for name in ("ILSVRC2012_val_00000001.JPEG", "n00004475_being.JPEG", "n014407641.JPEG"):
        place(photographs["coffee"], tmp_path / name)
    found = labels_of(find_dataset("imagenet", tmp_path))
    assert found == {"n01440764_tench.JPEG": 0, "n15075141_toilet_tissue.JPEG": 999}


def test_imagenet_class_of_another_edition(imagenet, photographs):
    root = find_dataset("imagenet", imagenet).root
    place(photographs["coffee"], root / "n00004475" / "being.JPEG")
    with pytest.raises(ValueError, match=r"n00004475 is not one of the 1,000 classes"):
        find_dataset("imagenet", imagenet)


def test_imagenet_unsorted_archive(tmp_path, photographs):
    place(photographs["coffee"], tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(
        ValueError, match=r"val has no images in folders named by WordNet ids, such as n01440764"
    ):
        find_dataset("imagenet", tmp_path)


# CIFAR-10

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def cifar(tmp_path, photographs, monkeypatch):
    """Write batches as they are published; torchvision's own check runs, on the sums of these files."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    tiny = [np.asarray(Image.open(photographs[name]).resize((32, 32))) for name in PICTURES]
    rows = np.stack([picture.transpose(2, 0, 1).reshape(-1) for picture in tiny])
    batch = {"data": rows, "labels": [0, 3, 9, 8], "filenames": [f"{name}.png" for name in PICTURES]}

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    training = [[f"data_batch_{number}", write(f"data_batch_{number}", batch)] for number in range(1, 6)]
    meta = {
        "filename": "batches.meta",
        "key": "label_names",
        "md5": write("batches.meta", {"label_names": CLASSES}),
    }
    monkeypatch.setattr(CIFAR10, "train_list", training)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", write("test_batch", batch)]])
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return folder.parent, tiny


@pytest.mark.parametrize("below", [".", "cifar-10-batches-py"])
def test_cifar_test_split(cifar, below):
    folder, pictures = cifar
    dataset = find_dataset("cifar10", folder / below)
    assert dataset.items == tuple(Item(f"test/{n:05}", label) for n, label in enumerate([0, 3, 9, 8]))
    assert (dataset.name, dataset.class_count) == ("cifar10", 10)
    for item, pixels in zip(dataset.items, pictures, strict=True):
        image = dataset.open(item)
        assert image.mode == "RGB"
        assert (np.asarray(image) == pixels).all()
        assert dataset.image_hash(item) == hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
        assert dataset.truth(item) is None


def test_cifar_travels_without_its_pixels(cifar):
    dataset = find_dataset("cifar10", cifar[0])
    sent = pickle.dumps(dataset)
    assert len(sent) < 1000
    assert (np.asarray(pickle.loads(sent).open(dataset.items[2])) == cifar[1][2]).all()


@pytest.mark.parametrize("file", ["test_batch", "batches.meta", "data_batch_3"])
@pytest.mark.parametrize("fault", ["missing", "changed"])
def test_cifar_not_whole(cifar, file, fault):
    path = cifar[0] / "cifar-10-batches-py" / file
    path.unlink() if fault == "missing" else path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(
        ValueError, match=r"not whole.*fetch https://\S+cifar-10-python\.tar\.gz once"
    ) as caught:
        find_dataset("cifar10", cifar[0])
    assert "\n" not in str(caught.value)


def test_cifar_is_checked_against_the_published_sums(cifar, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ValueError, match="not whole"):
        find_dataset("cifar10", cifar[0])


@pytest.mark.parametrize("below", [".", "test"])
def test_cifar_as_folders_of_images(tmp_path, photographs, below):
    for name in CLASSES:
        (tmp_path / "test" / name).mkdir(parents=True)
    for name, file, picture in (("cat", "7.png", "chelsea"), ("airplane", "1.jpg", "rocket")):
        place(photographs[picture], tmp_path / "test" / name / file)
    place(photographs["coffee"], tmp_path / "train/cat/1.jpg")
    dataset = find_dataset("cifar10", tmp_path / below)
    assert labels_of(dataset) == {"airplane/1.jpg": 0, "cat/7.png": 3}
    assert (dataset.class_count, dataset.open(dataset.items[0]).size) == (10, SIZE)
    (tmp_path / "test/truck").rmdir()
    with pytest.raises(ValueError, match="lacks a folder for truck"):
        find_dataset("cifar10", tmp_path / below)


# CUB-200-2011

BIRDS = {
    1: ("001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg", 1, 0, (5.0, 4.0, 20.0, 10.0)),
    2: ("001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg", 1, 1, (0.0, 0.0, 60.0, 40.0)),
    3: ("002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg", 2, 0, (50.0, 30.0, 30.0, 30.0)),
    4: ("200.Common_Yellowthroat/Common_Yellowthroat_0003_190521.jpg", 200, 0, (1.0, 2.0, 3.0, 4.0)),
}


@pytest.fixture
def cub(tmp_path, photographs):
    """Write four birds; return the folder of the lists."""
    top = tmp_path / "CUB_200_2011"
    for (name, *_), picture in zip(BIRDS.values(), PICTURES, strict=True):
        place(photographs[picture], top / "images" / name)
    lists = {"images": 0, "image_class_labels": 1, "train_test_split": 2}
    for file, column in lists.items():
        lines = [f"{number} {bird[column]}\n" for number, bird in BIRDS.items()]
        (top / f"{file}.txt").write_text("".join(lines))
    boxes = [f"{number} {' '.join(map(str, bird[3]))}\n" for number, bird in BIRDS.items()]
    (top / "bounding_boxes.txt").write_text("".join(boxes))
    return top


def segment(folder):
    """Write a mask of six levels for each bird, as six people's votes are published."""
    votes = (np.arange(40 * 60).reshape(40, 60) % 6 * 51).astype(np.uint8)
    for name, *_ in BIRDS.values():
        path = (folder / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(votes).save(path)
    return votes


@pytest.mark.parametrize("below", [".", "CUB_200_2011"])
def test_cub_test_split(cub, below):
    dataset = find_dataset("cub200", cub.parent / below)
    assert labels_of(dataset) == {BIRDS[1][0]: 0, BIRDS[3][0]: 1, BIRDS[4][0]: 199}
    assert (dataset.name, dataset.class_count) == ("cub200", 200)
    assert dataset.open(dataset.items[0]).size == SIZE


def test_cub_training_split_is_what_the_test_split_lacks(cub):
    dataset = read_cub200(cub, train=True)
    assert labels_of(dataset) == {BIRDS[2][0]: BIRDS[2][1] - 1}
    assert dataset.truth(dataset.items[0]).size == SIZE
    (cub / "images" / BIRDS[2][0]).unlink()
    with pytest.raises(ValueError, match="none of the 1 images of the training split"):
        read_cub200(cub, train=True)


def test_cub_boxes_are_the_truth_without_segmentations(cub):
    dataset = find_dataset("cub200", cub)
    first, clipped, last = (dataset.truth(item) for item in dataset.items)
    assert (first.mode, first.size) == ("L", SIZE)
    expected = np.zeros((40, 60))
    expected[4:14, 5:25] = 255
    assert (np.asarray(first) == expected).all()
    assert clipped.getbbox() == (50, 30, 60, 40)
    assert last.getbbox() == (1, 2, 4, 6)


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "inside"])
def test_cub_segmentations_are_the_truth(cub, beside):
    votes = segment((cub.parent if beside else cub) / "segmentations")
    dataset = find_dataset("cub200", cub)
    truth = dataset.truth(dataset.items[0])
    assert truth.mode == "L"
    assert (np.asarray(truth) == votes).all()


@pytest.mark.parametrize("segmented", [True, False])
def test_cub_truth_is_turned_with_its_photograph(cub, segmented):
    votes = segment(cub / "segmentations") if segmented else None
    dataset = find_dataset("cub200", cub)
    path = dataset.root / dataset.items[0].name
    upright = np.asarray(dataset.truth(dataset.items[0]))
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned by 90 degrees clockwise
    Image.open(path).save(path, exif=exif)
    truth = dataset.truth(dataset.items[0])
    assert truth.size == dataset.open(dataset.items[0]).size == SIZE[::-1]
    assert (np.asarray(truth) == np.rot90(upright, -1)).all()
    assert votes is None or (np.rot90(np.asarray(truth)) == votes).all()


def test_cub_segmentation_that_does_not_fit(cub):
    segment(cub / "segmentations")
    dataset = find_dataset("cub200", cub)
    masks = [(cub / "segmentations" / item.name).with_suffix(".png") for item in dataset.items]
    Image.new("L", (40, 60)).save(masks[0])
    truncate(masks[1])
    masks[2].unlink()
    with pytest.raises(ValueError, match=r"0046_18\.png is of \(40, 60\) pixels, .*photograph of \(60, 40\)"):
        dataset.truth(dataset.items[0])
    with pytest.raises(ValueError, match=r"0002_1027\.png is damaged or incomplete"):
        dataset.truth(dataset.items[1])
    with pytest.raises(FileNotFoundError, match=r"0003_190521\.png"):
        dataset.truth(dataset.items[2])


CUB_FAULTS = {
    "no list": ("images.txt", None, r"images\.txt is missing: unpack CUB_200_2011\.tgz"),
    "class 201": ("image_class_labels.txt", "1 201\n2 1\n3 2\n4 3\n", "from 1 to 200, got '201'"),
    "class 0": ("image_class_labels.txt", "1 0\n2 1\n3 2\n4 3\n", "from 1 to 200, got '0'"),
    "short list": ("image_class_labels.txt", "1 1\n2 1\n3 2\n", r"labels\.txt has no line for image 4"),
    "repetition": ("train_test_split.txt", "1 0\n1 1\n", r"split\.txt, line 2: expected a new number.*'1 1'"),
    "words": (
        "images.txt",
        "one a.jpg\n",
        r"images\.txt, line 1: expected a new number, a space .*'one a\.jpg'",
    ),
    "split 2": ("train_test_split.txt", "1 2\n2 1\n3 1\n4 1\n", "from 0 to 1, got '2'"),
    "training only": ("train_test_split.txt", "1 1\n2 1\n3 1\n4 1\n", "names no image of the test split"),
    "short box": (
        "bounding_boxes.txt",
        "1 5 5 5\n2 1\n3 1\n4 1\n",
        "expected four numbers for a box, got '5 5 5'",
    ),
    "no file": (
        "images.txt",
        "1 x/absent.jpg\n2 b\n3 c\n4 d\n",
        r"has none of the 3 images of the test split",
    ),
}


def test_cub_in_part_has_what_is_there_and_counts_the_rest(cub):
    (cub / "images" / BIRDS[3][0]).unlink()
    dataset = find_dataset("cub200", cub)
    assert labels_of(dataset) == {BIRDS[1][0]: 0, BIRDS[4][0]: 199}
    assert dataset.absent == 1
    assert dataset.truth(dataset.items[1]).getbbox() == (1, 2, 4, 6)


def test_cub_lists_may_name_more_than_images_txt(cub):
    for file, rest in (("image_class_labels", "7"), ("train_test_split", "0"), ("bounding_boxes", "1 1 1 1")):
        with open(cub / f"{file}.txt", "a") as lines:
            lines.write(f"11788 {rest}\n")
    dataset = find_dataset("cub200", cub)
    assert (len(dataset.items), dataset.absent) == (3, 0)


@pytest.mark.parametrize(("file", "text", "message"), CUB_FAULTS.values(), ids=CUB_FAULTS)
def test_cub_lists_at_fault(cub, file, text, message):
    (cub / file).unlink() if text is None else (cub / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        find_dataset("cub200", cub)


# ECSSD


@pytest.fixture(params=["ground_truth_mask", "masks"])
def ecssd(request, tmp_path, photographs):
    """Write four photographs, and masks for three of them."""
    for number, picture in enumerate(PICTURES, 1):
        place(photographs[picture], tmp_path / f"images/000{number}.jpg")
    (tmp_path / request.param).mkdir()
    for number in (1, 2, 4):
        mask = np.zeros((40, 60), np.uint8)
        mask[:number, :20] = 255
        Image.fromarray(mask).save(tmp_path / request.param / f"000{number}.png")
    return tmp_path


def test_ecssd_has_pixel_truth_and_no_labels(ecssd):
    dataset = find_dataset("ecssd", ecssd)
    assert labels_of(dataset) == {"0001.jpg": None, "0002.jpg": None, "0004.jpg": None}
    assert (dataset.class_count, dataset.absent) == (None, 1)
    areas = [(np.asarray(dataset.truth(item)) >= 128).sum() for item in dataset.items]
    assert areas == [20, 40, 80]
    assert dataset.truth(dataset.items[0]).mode == "L"
    assert pickle.loads(pickle.dumps(dataset)).masks == dataset.masks


def test_ecssd_at_fault(ecssd):
    dataset = find_dataset("ecssd", ecssd)
    mask = (dataset.masks / dataset.items[0].name).with_suffix(".png")
    Image.new("L", (9, 9)).save(mask)
    with pytest.raises(
        ValueError, match=r"0001\.png is of \(9, 9\) pixels, but its photograph of \(60, 40\)"
    ):
        dataset.truth(dataset.items[0])
    for path in dataset.masks.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="has no mask for any of the 4 photographs"):
        find_dataset("ecssd", ecssd)
    dataset.masks.rmdir()
    with pytest.raises(ValueError, match="must hold the folders images and ground_truth_mask"):
        find_dataset("ecssd", ecssd)


# Any folder

FOLDER = {"b.jpg": "astronaut", "a/z.JPEG": "chelsea", "a.jpeg": "coffee", "c/d/e f.jpg": "rocket"}


@pytest.fixture
def folder(tmp_path, photographs):
    for name, picture in FOLDER.items():
        place(photographs[picture], tmp_path / name)
    return tmp_path


def write_labels(folder, rows, header=("file", "class_index"), **options):
    with open(folder / "labels.csv", "w", newline="", **options) as file:
        csv.writer(file).writerows([header, *rows])


def test_folder_is_searched_in_sorted_order(folder, photographs):
    place(photographs["coffee"], folder / ".ipynb_checkpoints" / "b-checkpoint.jpg")
    place(photographs["coffee"], folder / "._b.jpg")
    (folder / "readme.txt").write_text("four photographs")
    dataset = find_dataset("folder", str(folder))
    assert dataset.items == (Item("a.jpeg"), Item("a/z.JPEG"), Item("b.jpg"), Item("c/d/e f.jpg"))
    assert (dataset.name, dataset.class_count) == ("folder", None)


def test_folder_images_are_opened_and_hashed_and_left_alone(folder, photographs):
    before = contents(folder)
    dataset = find_dataset("folder", folder)
    for item in dataset.items:
        source = photographs[FOLDER[item.name]]
        assert (np.asarray(dataset.open(item)) == np.asarray(Image.open(source))).all()
        assert dataset.image_hash(item) == hashlib.sha256(source.read_bytes()).hexdigest()[:16]
        assert dataset.truth(item) is None
    assert contents(folder) == before


def test_hash_changes_with_the_file_and_not_with_its_name(folder):
    first, second, *_ = find_dataset("folder", folder).items
    dataset = find_dataset("folder", folder)
    before = dataset.image_hash(first)
    place(folder / first.name, folder / second.name)
    assert dataset.image_hash(second) == before
    content = bytearray((folder / first.name).read_bytes())
    content[-3] ^= 1
    (folder / first.name).write_bytes(content)
    assert dataset.image_hash(first) != before


def test_folder_labels_with_further_columns_and_gaps(folder):
    rows = [("b.jpg", 7, "n01530575", "brambling"), ("c/d/e f.jpg", "", "", "")]
    write_labels(folder, rows, ("file", "class_index", "wnid", "name"), encoding="utf-8-sig")
    assert labels_of(find_dataset("folder", folder)) == {
        "a.jpeg": None,
        "a/z.JPEG": None,
        "b.jpg": 7,
        "c/d/e f.jpg": None,
    }


LABEL_FAULTS = {
    "missing file": (
        [("b.jpg", 1), ("absent.jpg", 2)],
        r"line 3 has a label for 'absent\.jpg', .*no such image",
    ),
    "base name only": ([("z.JPEG", 1)], r"line 2 has a label for 'z\.JPEG'"),
    "repetition": ([("b.jpg", 1), ("b.jpg", 1)], r"line 3 has a second label for 'b\.jpg'"),
    "negative": ([("b.jpg", -1)], "line 2: class_index must be a number from 0 up, got '-1'"),
    "fraction": ([("b.jpg", 1.5)], "got '1.5'"),
    "word": ([("b.jpg", "tabby")], "got 'tabby'"),
    "short line": ([("b.jpg",)], "got None"),
}


@pytest.mark.parametrize(("rows", "message"), LABEL_FAULTS.values(), ids=LABEL_FAULTS)
def test_folder_labels_at_fault(folder, rows, message):
    write_labels(folder, rows)
    with pytest.raises(ValueError, match=rf"labels\.csv: .*{message}"):
        find_dataset("folder", folder)


@pytest.mark.parametrize(
    "content", [b"", b"name,class\nb.jpg,1\n", b"\xff\xfe\x00"], ids=["empty", "other", "binary"]
)
def test_folder_labels_that_are_no_table(folder, content):
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"labels\.csv: (needs the columns file and class_index|.*can't decode)"
    ):
        find_dataset("folder", folder)


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(ValueError, match="holds no image, nor do the folders in it"):
        find_dataset("folder", tmp_path)


def test_name_that_is_no_text(folder):
    try:
        (folder / "b.jpg").rename(folder / "b\udcff.jpg")
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    with pytest.raises(ValueError, match=r"'b\\udcff\.jpg', whose name is not valid text"):
        find_dataset("folder", folder)


# All of them


def test_a_truncated_image_is_named_when_opened_and_harms_no_other(folder):
    truncate(folder / "b.jpg")
    (folder / "a.jpeg").write_text("no image")
    dataset = find_dataset("folder", folder)
    broken, _, cut, whole = dataset.items
    with pytest.raises(ValueError, match=r"b\.jpg is damaged or incomplete"):
        dataset.open(cut)
    with pytest.raises(ValueError, match=r"a\.jpeg is not an image"):
        dataset.open(broken)
    assert dataset.open(whole).size == SIZE
    (folder / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.jpg"):
        dataset.open(cut)


def test_datasets_can_be_sent_to_other_processes(cub, imagenet, photographs):
    segment(cub / "segmentations")
    for dataset in (find_dataset("cub200", cub), find_dataset("imagenet", imagenet)):
        copy = pickle.loads(pickle.dumps(dataset))
        assert copy == dataset
        assert copy.open(copy.items[0]).tobytes() == dataset.open(dataset.items[0]).tobytes()


def test_dataset_does_not_depend_on_the_working_directory(folder, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(folder.parent)
    dataset = find_dataset("folder", folder.name)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert dataset.open(dataset.items[0]).size == SIZE


def test_unknown_dataset_and_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="there is no data set 'cifar'; did you mean 'cifar10'"):
        find_dataset("cifar", tmp_path)
    with pytest.raises(ValueError, match=r"'coco': imagenet, cifar10, cub200, ecssd, folder$"):
        find_dataset("coco", tmp_path)
    for name in DATASETS:
        with pytest.raises(ValueError, match="absent, does not exist"):
            find_dataset(name, tmp_path / "absent")


# Which images are taken


def named(*names):
    return Dataset("folder", None, tuple(Item(name) for name in names), None)


FIVE = named("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
NAMES = st.lists(st.text("ab/é 0.", min_size=1, max_size=6), min_size=1, max_size=8, unique=True)


@settings(max_examples=60)
@given(NAMES, st.integers(0, 2**32), st.data())
def test_a_longer_run_extends_a_shorter_one(names, seed, data):
    dataset = named(*names)
    everything = chosen(dataset, None, seed)
    assert sorted(item.name for item in everything) == sorted(names)
    count = data.draw(st.integers(1, len(names)))
    assert chosen(dataset, count, seed) == everything[:count]
    kept = data.draw(st.sets(st.sampled_from(names), min_size=1))
    fewer = named(*(name for name in reversed(names) if name in kept))
    assert chosen(fewer, None, seed) == [item for item in everything if item.name in kept]


def test_order_is_the_same_for_ever():
    # From printf '%s' "SEED/NAME" | sha256sum, sorted.
    assert "".join(item.name[0] for item in chosen(FIVE, None, 0)) == "cdeba"
    assert "".join(item.name[0] for item in chosen(FIVE, None, 1)) == "edabc"


@pytest.mark.parametrize("count", [6, 0, -1])
def test_count_beyond_the_images(count):
    with pytest.raises(
        ValueError, match=f"images must be from 1 to 5, as many as folder has here, got {count}"
    ):
        chosen(FIVE, count, 0)
