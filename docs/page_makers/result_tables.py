"""The tables of the results, by the benchmarks' own code where that makes one."""

from collections.abc import Iterator

from page_makers import benchmarks
from page_makers import markdown as md
from page_makers.result_parts import Collected, Part, by, grouped, rest_of_title, titled, work

DATA = "--data ../shared/data"


def accuracy() -> Iterator[Part]:
    profiles, table = benchmarks.module("accuracy.profiles").PROFILES, benchmarks.module("accuracy.table").table
    for name, rows in by("profile", benchmarks.content("accuracy.json"), profiles):
        profile, data = profiles[name], "" if name == "digits" else f" {DATA}"
        budget = f", and a budget of {profile.core_seconds:.0f} core seconds" if profile.core_seconds else ""
        texts = [f"{work(profile.settings)}{budget}."]
        command = f"python -m benchmarks.accuracy.run{data} --profile {name}"
        yield Part(f"Profile {name}", [*texts, md.from_rich(table(name, rows))], command, rows, "accuracy.json")


def distill() -> Iterator[Part]:
    table, profiles = benchmarks.module("distill.table").table, benchmarks.module("distill.profiles").PROFILES
    for name, rows in by("profile", benchmarks.content("distill.json"), profiles):
        profile, data = profiles[name], "" if profiles[name].teacher == "digits" else f" {DATA}"
        student = profile.student.rpartition("/")[2].rpartition(":")[2]
        view = table(name, rows)
        said = f"From `{profile.teacher}` to `{student}`. {work(profile.settings)}. {rest_of_title(view)}"
        texts = [said, md.from_rich(view)]
        command = f"python -m benchmarks.distill.run{data} --profile {name}"
        yield Part(f"Profile {name} ", texts, command, rows, "distill.json")


def incremental() -> Iterator[Part]:
    table, profiles = benchmarks.module("increment.table").table, benchmarks.module("increment.profiles").PROFILES
    for name, rows in by("profile", benchmarks.content("incremental.json"), profiles):
        data = f" {DATA}" if name.startswith("cifar") else ""
        view = table(name, rows)
        command = f"python -m benchmarks.increment.run{data} --profile {name}"
        texts = [rest_of_title(view), md.from_rich(view)]
        yield Part(f"Classes {name}", texts, command, rows, "incremental.json")


def mixed() -> Iterator[Part]:
    table = benchmarks.module("mixed.table").table
    keys = ("method", "images", "iterations", "steps")
    for found, rows in grouped(benchmarks.content("mixed.json"), keys):
        options = " ".join(f"--{key} {value}" for key, value in zip(keys, found, strict=True))
        yield Part("", [titled(table(rows))], f"python -m benchmarks.mixed.run {DATA} {options}", rows, "mixed.json")


def ablation() -> Iterator[Part]:
    table, rows = benchmarks.module("ablation.table").table, benchmarks.content("ablation.json")
    for (net, bits), group in grouped(rows, ("net", "bits")):
        view = table(group, net, bits)
        data = "" if net == "digits" else f" {DATA}"
        command = f"python -m benchmarks.ablation.run{data} --net {net} --bits {bits}"
        yield Part(f"{net}, W{bits}A{bits}", [titled(view)], command, group, "ablation.json")


def ingredients() -> Iterator[Part]:
    """By hand: the program shows rows of its present recipes alone, and a renamed class is another recipe to it."""
    spread = benchmarks.module("common.spread").spread
    known = [row for row in benchmarks.content("ingredients.json") if "net" in row]  # older ones had other work
    rows = [{**row, "kinds": "evidence_on_leaves" in row} for row in known]  # Their recipes are newer, too.
    for (net, form, _, kinds), group in grouped(rows, ("net", "format", "work", "kinds")):
        lines = []
        for (arm,), same in grouped(group, ("arm",)):
            accuracies = [100 * row["accuracy"]["student"] for row in same if "accuracy" in row]
            lines.append(
                (
                    arm, str(len(same)),
                    spread([100 * row["evidence"]["mixed_agreement"] for row in same], 2),
                    spread([row["evidence"]["divergence"] for row in same], 3),
                    spread([100 * row["real_agreement"] for row in same], 2),
                    spread(accuracies, 1) if accuracies else "",
                )
            )  # fmt: skip
        given = group[0]["work"]
        head = ("arm", "seeds", "jury: mixtures, %", "jury: divergence", "10,000 real images, %", "accuracy, %")
        done = f"{given['images']} images, {given['iterations']} iterations a block, {given['steps']} steps."
        command = f"python -m benchmarks.ingredients.run {DATA} --net {net} --formats {form}"
        texts = [done, md.table(head, lines, range(1, len(head)))]
        title = f"{net}, {form}{': kinds of image' if kinds else ''}"
        yield Part(title, texts, command, group, "ingredients.json")


def instant() -> Iterator[Part]:
    found = benchmarks.content("instant.json")
    texts = [md.from_rich(benchmarks.module("instant.table").table(found["rows"]))]
    yield Part("", texts, f"python -m benchmarks.instant.run {DATA}", [found], "instant.json")


def estimate() -> Iterator[Part]:
    found = benchmarks.content("estimate.json")
    texts = [md.from_rich(benchmarks.module("estimate.table").errors(found["rows"]))]
    yield Part("", texts, f"python -m benchmarks.estimate.run {DATA}", [found], "estimate.json")


def method_speed() -> Iterator[Part]:
    found = benchmarks.content("method_speed.json")
    texts = [titled(benchmarks.module("speed.methods").table(found["methods"]))]
    yield Part("", texts, "python -m benchmarks.speed.methods", [found], "method_speed.json")


def latency() -> Iterator[Part]:
    found, console = benchmarks.content("latency.json"), Collected()
    benchmarks.module("latency.table").show(found["networks"], console)
    texts = [titled(view) for view in console.tables]
    texts += ["\n".join(f"- {text}" for text in console.texts)] if console.texts else []
    yield Part("", texts, "python -m benchmarks.latency.run", [found], "latency.json")


def digits() -> Iterator[Part]:
    found, drop = benchmarks.content("digits.json"), benchmarks.module("demo.run").drop
    names = list(found["mean_drop_points"])
    rows = [
        (str(run["seed"]), f"{100 * run['rows']['teacher']['accuracy']:.1f}", *(f"{drop(run, n):.2f}" for n in names))
        for run in found["runs"]
    ]
    rows.append(("mean", "", *(f"{found['mean_drop_points'][name]:.2f}" for name in names)))
    head = ("seed", "teacher, %", *(f"drop of {name}, points" for name in names))
    yield Part("", [md.table(head, rows, (1, 2, 3))], "python -m benchmarks.demo.run", [found], "digits.json")


def toolkits() -> Iterator[Part]:
    found, shown = benchmarks.content("toolkits.json"), benchmarks.module("toolkits.run").SHOWN[1:]
    rows = [
        (net, rule, f"{100 * of_net['float']:.1f}",
         *(f"{100 * row[one]['accuracy']:.1f} ({100 * row[one]['agreement']:.1f})" for one in shown))
        for net, of_net in found["networks"].items()
        for rule, row in of_net["rules"].items()
    ]  # fmt: skip
    texts = [md.table(("network", "ranges", "float", *shown), rows, range(2, 6))]
    yield Part("", texts, f"python -m benchmarks.toolkits.run {DATA}", [found], "toolkits.json")


def synthesis() -> Iterator[Part]:
    found = benchmarks.content("synthesis_step.json")
    kinds = list(found["rows"][0]["ratio"])
    rows = [
        (row["arch"], str(row["batch_size"]), str(row["side"]), *(f"{row['ratio'][kind]:.2f}×" for kind in kinds))
        for row in found["rows"]
    ]
    texts = [md.table(("network", "batch", "side, pixels", *kinds), rows, range(1, 6))]
    yield Part("Statistics", texts, "python -m benchmarks.speed.synthesis_step", [found], "synthesis_step.json")
    found = benchmarks.content("allocator.json")
    head = ("freed memory", "core ms per image and iteration", "of it in the kernel, ms", "peak memory, MB")
    rows = [
        (row["arm"], f"{row['ms']:.1f}", f"{row['kernel_ms']:.1f}", f"{row['peak_mb']:.0f}") for row in found["rows"]
    ]
    texts = [f"{found['net']}.", md.table(head, rows, (1, 2, 3))]
    yield Part("Memory", texts, "python -m benchmarks.speed.allocator", [found], "allocator.json")


def outputs() -> Iterator[Part]:
    found = benchmarks.content("outputs.json")
    texts = [md.from_rich(benchmarks.module("outputs.run").table(found["rows"]))]
    yield Part("", texts, "python -m benchmarks.outputs.run --data ../shared/data", [found], "outputs.json")


def onnx_files() -> Iterator[Part]:
    found = benchmarks.content("onnx_files.json")
    texts = [md.from_rich(benchmarks.module("onnx_files.run").table(found["rows"]))]
    yield Part("", texts, "python -m benchmarks.onnx_files.run --files FOLDER", [found], "onnx_files.json")


def without_statistics() -> Iterator[Part]:
    found, view = benchmarks.content("without_statistics.json"), benchmarks.module("without_statistics.table").table
    for profile, rows in by("profile", found, dict.fromkeys(row["profile"] for row in found)):
        command = f"python -m benchmarks.without_statistics.run {DATA} --profile {profile}"
        yield Part(profile, [md.from_rich(view(profile, rows))], command, rows, "without_statistics.json")


def kills() -> Iterator[Part]:
    rows = benchmarks.content("kills.json")
    texts = [md.from_rich(benchmarks.module("kills.run").table(rows))]
    yield Part("", texts, "python -m benchmarks.kills.run --seeds 3", rows, "kills.json")


def export() -> Iterator[Part]:
    found = benchmarks.content("export.json")
    rows = [
        (row["arch"], *(f"{row[file][way]:.1f}" for file in ("student", "float") for way in ("direct", "traced")),
         f"{max(row[file]['largest_difference'] for file in ('student', 'float')):.1g}")
        for row in found["rows"]
    ]  # fmt: skip
    ways = ("one pass", "torch's exporter")
    head = ("network", *(f"{file}, {way}" for file in ("student", "float twin") for way in ways), "difference")
    texts = [md.table(head, rows, range(1, 6))]
    yield Part("", texts, "python -m benchmarks.speed.export --threads 1", [found], "export.json")


def memory() -> Iterator[Part]:
    rows = benchmarks.content("memory.json")
    texts = [md.from_rich(view) for view in benchmarks.module("memory.run").tables(rows)]
    yield Part("", texts, "python -m benchmarks.memory.run", rows, "memory.json")


def teachers() -> Iterator[Part]:
    found = benchmarks.content("teachers.json")
    head = ("network", "accuracy", "ResNet-56", "images", "parameters", "epochs")
    rows = [
        (row["net"], f"{100 * row['accuracy']:.1f}", f"{100 * row['accuracy_of_resnet56']:.1f}",
         str(row["test_images"]), f"{row['parameters']:,}", str(row["settings"]["epochs"]))
        for row in found
    ]  # fmt: skip
    yield Part(
        "", [md.table(head, rows, range(1, 6))], f"python -m benchmarks.teachers.run {DATA}", found, "teachers.json"
    )
