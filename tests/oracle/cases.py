"""The matrix: healthy images × what is done to them. Nothing is left out in silence: an image gets every damage whose
needs it has (or a share of them, see SHARE), and a damage that then finds no place to strike is a failure."""

import os
import random
import shlex
from dataclasses import dataclass, field

import damages
import folders
import mkimage
import qcow2

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.join(HERE, "..", "tools")
IMAGES = os.path.join(HERE, "..", "images")

# Too slow to copy a thousand times, or without anything to damage: compared as they are, and that's it.
ONLY_AS_THEY_ARE = ("healthy-many-clusters", "healthy-empty", "healthy-size-zero", "healthy-cluster-1M",
                    "healthy-cluster-256k", "healthy-cluster-512k", "healthy-luks-512", "healthy-backing-not-followed")
# The header of one image is as good as another's.
TYPICAL = ("healthy-v3", "rich", "rich-v2", "rich-extended", "backing-rich")
# qemu-img gives up on files of more than 2^31 clusters, though nothing is wrong with them.
BEYOND_QEMU = ("healthy-many-clusters",)

# What an image must have -> the damages that then can be done.
DAMAGES = {
    "mapped": """l1-reserved l1-past-end l1-no-offset l1-entry-zeroed l1-zeroed l1-entry-garbage l1-garbage
        l1-copied-flip l2-table-garbage l2-table-text refcount-zero refcount-zero=7 refcount-leak reftable-reserved reftable-past-end
        reftable-empty-past-end reftable-zeroed reftable-dup reftable-garbage refblock-zeroed refblock-garbage
        refblock-text refblock-ones
        truncate-cluster truncate-mid truncate-last truncate-l2 truncate-refblock garbage garbage=4000 zeros
        l1-on-metadata""",
    "data": """l2-reserved l2-past-end l2-entry-zeroed l2-table-zeroed l2-copied-flip l2-copied-flip=9""",
    "aligned mapped": "l1-unaligned reftable-unaligned",
    "aligned data": "l2-unaligned",
    "spare-refcount": "refcount-past-end",
    "wide mapped": "refcount-high refcount-high=5 refcount-max",
    "stored data": "l2-dup reftable-on-data data-on-metadata data-on-metadata",
    "stored data wide": """l2-dup-matching data-on-metadata-matching data-on-header compressed-on-data""",
    "stored data wide copied": "refcount-and-copied",
    "stored two-tables": "l1-on-data",
    "stored two-tables wide": "l1-dup-matching",
    "shared": "refcount-low",
    "overflow": "refcount-overflow",
    "beyond": "l2-beyond-end",
    "v2 data": "l2-zero-v2",
    "v3 typical": """incompatible-bit autoclear-bit dirty-bit corrupt-bit header-length header-length=65600
        header-refcount-order compression-type compression-type=1 compression-bit data-file-bit raw-data-bit
        extension-length extension-end-length""",
    "typical": """header-short header-magic header-zeroed header-text header-ones header-version header-cluster-bits
        virtual-size virtual-size-large l1-size l1-size=0 l1-size=0x80000000 l1-offset-unaligned l1-offset-past-end
        reftable-offset-unaligned reftable-offset-past-end reftable-clusters reftable-clusters=0xffffffff
        crypt-method crypt-method=2 truncate-l1 backing-format-length""",
    "v3 tiny": "subclusters-bit",
    "backing": "backing-name-offset backing-name-length backing-lost",
    "snapshots": """snapshot-table-unaligned snapshot-table-past-end snapshot-count snapshot-count=0x80000000
        snapshot-count-more snapshot-id-length snapshot-extra-large snapshot-l1-unaligned snapshot-l1-size
        snapshot-l1-past-end snapshot-l1-zeroed snapshot-l1-garbage snapshot-lost""",
    "snapshots v3": "snapshot-extra-short snapshot-extra-short=8",
    "snapshots wide": "snapshot-on-active-l1",
    "snapshots sized": "snapshot-size-zero snapshot-l1-short",
    "two-snapshots": "snapshot-duplicate-id",
    "own-tables": "snapshot-l2-zeroed snapshot-l1-past-end-entry",
    "own-tables aligned": "snapshot-l2-unaligned",
    "bitmaps": """bitmaps-missing bitmaps-stale bitmaps-count bitmaps-count=65536 bitmaps-count-more bitmaps-reserved
        bitmaps-length bitmaps-directory-unaligned bitmaps-directory-past-end bitmaps-directory-size bitmap-flags
        bitmap-type bitmap-granularity bitmap-name-length bitmap-extra bitmap-table-unaligned bitmap-table-size
        bitmap-table-past-end bitmap-entry-reserved bitmap-entry-past-end bitmap-entry-shared bitmap-in-use""",
    "bitmaps filled aligned": "bitmap-entry-unaligned",
    "bitmaps twins": "bitmap-duplicate-name",
    "v3 typical no-bitmaps": "bitmaps-bit",
    "compressed": "compressed-copied compressed-past-end compressed-garbage",
    "compressed long": "compressed-cut",
    "compressed tiny": "compressed-high-bits",
    "compressed extended": "compressed-bitmap",
    "extended data": "l2-zero-extended subclusters-both subclusters-lost",
    "external data": """compressed-data-file data-file-shift data-file-swap data-file-lost data-file-truncated
        snapshot-data-file data-file-bit""",
    "v3 typical ": "extension-fuzz",
    "typical ": "header-fuzz",
    "thorough mapped": "mapping-fuzz reftable-fuzz",
    "thorough snapshots": "snapshot-fuzz snapshot-mapping-fuzz",
    "thorough bitmaps": "bitmap-fuzz",
    "luks": "luks-place luks-extension-lost luks-header-garbage crypt-method=0",
}
# Images that differ little from others get every second or fourth damage only, each another choice.
SHARE = {2: """healthy-cluster-1k healthy-cluster-2k healthy-cluster-8k healthy-cluster-16k healthy-cluster-32k
            healthy-cluster-128k healthy-refcount-bits-8 healthy-refcount-bits-16 healthy-refcount-bits-32
            healthy-bitmap-zeros healthy-zlib healthy-data-file-raw""",
         4: """healthy-header-104 healthy-header-longer healthy-unknown-extension healthy-unknown-compatible-bit
            healthy-no-feature-names healthy-trailing healthy-lazy-refcounts healthy-size-odd healthy-snapshot-extra-16
            healthy-snapshot-extra-8-v2 healthy-snapshot-extra-unknown healthy-preallocation-falloc
            healthy-preallocation-full healthy-large healthy-refblock-spare healthy-reftable-larger"""}
# How many victims are chosen, one after the other, in the images that have most to choose from.
THOROUGH = ("rich", "rich-v2", "rich-extended", "backing-rich", "scattered", "healthy-data-file", "healthy-v3",
            "healthy-vm-state", "healthy-bitmaps", "healthy-cluster-64k")
SEEDS = {"l1-garbage": 3, "l1-entry-garbage": 3, "l2-table-garbage": 3, "garbage": 5, "garbage=4000": 5, "zeros": 3,
         "truncate-cluster": 4, "truncate-mid": 4, "l2-past-end": 3, "l1-past-end": 3, "l1-on-metadata": 4,
         "data-on-metadata": 3, "data-on-metadata-matching": 4, "refblock-garbage": 2, "l1-unaligned": 3, "header-fuzz": 60, "extension-fuzz": 10,
         "mapping-fuzz": 25, "reftable-fuzz": 20, "snapshot-fuzz": 25, "snapshot-mapping-fuzz": 15, "bitmap-fuzz": 40}
ONE_SEED = ("v3 typical", "typical", "backing", "luks", "v3 tiny")

# Done to the richest images two and three at a time.
TOGETHER = """l2-unaligned l2-past-end l2-reserved l2-dup l2-copied-flip l2-entry-zeroed l1-reserved l1-copied-flip
    refcount-leak refcount-zero refcount-high reftable-empty-past-end snapshot-l1-unaligned
    snapshot-count-more data-on-metadata l1-unaligned garbage refblock-garbage""".split()
TOGETHER_ON, TOGETHER_CASES = ("rich", "rich-extended"), 60


@dataclass
class Case:
    base: str
    damages: "list[str]" = field(default_factory=list)
    seed: int = 0

    def __str__(self):
        return "/".join([self.base, "+".join(self.damages) or "as-it-is", str(self.seed)])

    @property
    def encryption(self):
        return next((kind for kind in ("luks", "aes") if kind in self.base), None)

    def make(self, built, folder):
        """Makes the image in `folder`; returns the codes that the damages announce. `built`: the bases."""
        folders.copy(os.path.join(built, self.base), folder)
        image = os.path.join(folder, "image.qcow2")
        return [code for wanted in self.damages for code in damages.apply(image, wanted, self.seed)]

    def steps(self):
        """The commands that make the image in /tmp/case."""
        steps = [["tests/tools/mkimage.py", os.path.relpath(bases()[self.base]), "/tmp/case"], ["cd", "/tmp/case"]]
        steps += [[os.path.join(os.path.relpath(TOOLS), "damage.py"), "image.qcow2", wanted, "--seed", str(self.seed)]
                  for wanted in self.damages]
        return " && ".join(map(shlex.join, steps))


def bases():
    """name -> recipe"""
    found = {n: os.path.join(IMAGES, n, "recipe") for n in os.listdir(IMAGES) if n.startswith("healthy-")}
    folder = os.path.join(HERE, "bases")
    found |= {n.removesuffix(".recipe"): os.path.join(folder, n) for n in os.listdir(folder)}
    return dict(sorted(found.items()))


def build(job):
    name, recipe, built = job
    return name, mkimage.Recipe.load(recipe).build(os.path.join(built, name))


def build_bases(pool, built):
    """name -> path, of every base, made in the folder `built`"""
    jobs = [(name, recipe, built) for name, recipe in bases().items()]
    return dict(sorted(pool.imap_unordered(build, jobs)))


def features(name, path):
    """What the image has that a damage may need."""
    has = {word for word, names in {"typical": TYPICAL, "thorough": THOROUGH}.items() if name in names}
    with qcow2.Image(path, writable=False) as image:
        kinds = {e.type for e in image.extensions()}
        data = image.entries("normal", "zero-alloc")
        normal = {e.host for e in data if e.kind == "normal"}
        compressed = image.entries("compressed")
        snapshots = image.snapshots()
        active = image.l2_tables()
        own = {t for s in range(len(snapshots)) for _, t in image.l2_tables(s)} - {t for _, t in active}
        clusters = qcow2.align(image.length, image.cluster_size) // image.cluster_size
        refcounts = [image.refcount(c) for c in range(min(clusters, 100000))]
        size = qcow2.align(image["size"], image.cluster_size)
        bitmaps = image.bitmaps() if qcow2.EXT_BITMAPS in kinds else []
        bitmap_entries = [e for b in bitmaps for e in image.table(b.table_offset, b.table_size)]
        has |= {word for word, true in {
            "v2": image.version == 2, "v3": image.version == 3,
            "mapped": active, "data": len(normal) > 1,
            "stored": not image.external_data, "external": image.external_data,
            "aligned": image.cluster_size > 512, "tiny": image.cluster_size < 8192, "extended": image.extended_l2,
            "wide": image.refcount_bits > 2, "overflow": len(normal) > (1 << image.refcount_bits) - 1,
            "spare-refcount": clusters % image.block_entries, "shared": any(n > 1 for n in refcounts),
            "two-tables": len({e.l1_index for e in data if e.kind == "normal"}) > 1,
            "copied": any(e.kind == "normal" and e.value & qcow2.COPIED for e in data),
            "beyond": any(e.kind == "unallocated" and e.guest >= size
                          for i, t in active[-1:] for e in image.l2_entries_of(t, i)),
            "backing": image["backing_file_offset"], "luks": qcow2.EXT_CRYPTO in kinds,
            "snapshots": snapshots, "two-snapshots": len(snapshots) > 1,
            "sized": any(len(s.extra) >= 16 for s in snapshots),
            "own-tables": any(e.has_cluster for t in own for e in image.l2_entries_of(t)),
            "bitmaps": bitmaps, "no-bitmaps": not bitmaps, "filled": any(e & qcow2.OFFSET_MASK for e in bitmap_entries),
            "twins": len({len(b.name) for b in bitmaps}) < len(bitmaps),
            "compressed": compressed, "long": any(e.size > 1024 for e in compressed),
        }.items() if true}
    return has


def matrix(paths):
    """All cases for these built images (name -> path)."""
    cases = []
    for number, (name, path) in enumerate(paths.items()):
        cases.append(Case(name))
        if name in ONLY_AS_THEY_ARE:
            continue
        has = features(name, path)
        possible = [(wanted, needs) for needs, listed in DAMAGES.items() if set(needs.split()) <= has
                    for wanted in listed.split()]
        step = next((step for step, names in SHARE.items() if name in names.split()), 1)
        for wanted, needs in possible[number % step::step]:
            seeds = SEEDS.get(wanted, 1 if needs in ONE_SEED else 2) if name in THOROUGH else 1
            cases += [Case(name, [wanted], number + seed) for seed in range(seeds)]
    for name in TOGETHER_ON:
        for seed in range(TOGETHER_CASES):
            rng = random.Random(f"{name}/{seed}")
            cases.append(Case(name, rng.sample(TOGETHER, rng.randrange(2, 4)), seed))
    return cases


def sample(cases, step):
    """Every so manyth, the first of each damage, and every image as it is."""
    seen, chosen = set(), []
    for number, case in enumerate(cases):
        if number % step == 0 or not case.damages or not seen.issuperset(case.damages):
            chosen.append(case)
            seen.update(case.damages)
    return chosen


def never_used(cases):
    used = {d for case in cases for d in case.damages}
    return sorted({d for listed in DAMAGES.values() for d in listed.split()} - used)
