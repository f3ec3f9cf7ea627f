"""The package holds what is on disk, is installed by what it declares, and exists once."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

# import name -> distribution, where they differ
DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn"}
# looked for at run time and done without when absent
OPTIONAL = {
    "menpo3d", "dask", "distributed", "threadpoolctl", "dracopy", "torch", "pandas", "trimesh", "zlib-ng"
}  # fmt: skip
PACKAGED_FOLDERS = ("pipeline", "stages", "commands")


@pytest.fixture(scope="module")
def setup_cfg(repository: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(repository / "setup.cfg", encoding="utf-8")
    return parser


def tool(repository: Path, name: str) -> ModuleType:
    """A script of tools/, as a module."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", repository / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def installer(repository: Path) -> ModuleType:
    return tool(repository, "install")


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def name_of(requirement: str) -> str:
    """`Pillow>=10.3` -> `pillow`."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def packages_on_disk(repository: Path) -> dict[str, str]:
    """Dotted package name -> folder, for every folder below pipeline/, stages/ and commands/ that holds Python."""
    packages = {"mimicme": "."}
    for top in PACKAGED_FOLDERS:
        for file in (repository / top).rglob("*.py"):
            folder = file.parent.relative_to(repository).as_posix()
            packages["mimicme." + folder.replace("/", ".")] = folder
    return packages


def source_files(repository: Path) -> list[Path]:
    return [
        *repository.glob("*.py"),
        *(f for top in PACKAGED_FOLDERS for f in (repository / top).rglob("*.py")),
    ]


def imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_listed_packages_are_those_on_disk(repository: Path, setup_cfg: configparser.ConfigParser) -> None:
    on_disk = packages_on_disk(repository)
    assert sorted(lines(setup_cfg["options"]["packages"])) == sorted(on_disk)
    mapping = dict(re.split(r"\s*=\s*", line) for line in lines(setup_cfg["options"]["package_dir"]))
    # setuptools finds a sub-package below its parent's folder: only these need saying; the rest must be true
    assert {"mimicme", *(f"mimicme.{top}" for top in PACKAGED_FOLDERS)} <= set(mapping)
    assert {name: on_disk.get(name) for name in mapping} == mapping


def test_listed_package_data_is_on_disk_and_what_is_on_disk_is_listed(
    repository: Path, setup_cfg: configparser.ConfigParser
) -> None:
    """A wheel has what `package_data` names: without it an installed package lacks its templates."""
    packages = packages_on_disk(repository)
    listed = {
        file
        for package, patterns in setup_cfg["options.package_data"].items()
        for pattern in patterns.split()
        for file in (repository / packages[package]).glob(pattern)
    }
    there = {repository / "py.typed"} | {
        file
        for top in PACKAGED_FOLDERS
        for file in (repository / top).rglob("*")
        if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts
    }
    assert repository / "commands/report/report.html.j2" in listed
    assert listed == there


def test_every_package_but_the_root_has_an_init(repository: Path) -> None:
    without = [
        f for f in packages_on_disk(repository).values() if not (repository / f / "__init__.py").exists()
    ]
    assert without == ["."]


def test_the_only_module_at_the_root_is_the_command_line(repository: Path) -> None:
    # setuptools packages every root module: a conftest.py there would be installed as mimicme.conftest
    assert {file.name for file in repository.glob("*.py")} <= {"cli.py"}


def test_every_import_is_declared(repository: Path, setup_cfg: configparser.ConfigParser) -> None:
    options = setup_cfg["options"]
    declared = {name_of(r) for r in lines(options["install_requires"])} | OPTIONAL
    undeclared = {
        f"{file.relative_to(repository)}: {module}"
        for file in source_files(repository)
        for module in imported_modules(file)
        for top in [module.split(".")[0]]
        if top not in sys.stdlib_module_names and top != "mimicme"
        if name_of(DISTRIBUTIONS.get(top, top)) not in declared
    }
    assert undeclared == set()


def test_optional_packages_are_extras(setup_cfg: configparser.ConfigParser) -> None:
    extras = setup_cfg["options.extras_require"]
    assert {name_of(r) for extra in extras.values() for r in lines(extra)} >= OPTIONAL


def test_log_and_doctor_name_what_is_declared(repository: Path, setup_cfg: configparser.ConfigParser) -> None:
    from mimicme.commands.doctor import examine
    from mimicme.pipeline.run.runlog import PACKAGES

    texts = [setup_cfg["options"]["install_requires"]]
    texts += [setup_cfg["options.extras_require"][extra] for extra in ("menpo3d", "dask", "draco")]
    # setuptools is menpo's, which does not ask for it
    declared = {name_of(r) for text in texts for r in lines(text)} - {"setuptools"}
    assert {name_of(name) for name in PACKAGES} == declared | {"mimicme"}
    # menpo3d is there for the template that it brings
    assert {name_of(f.name) for f in examine(repository)} >= declared - {"menpo3d"}


def test_no_bare_import_of_a_packaged_folder(repository: Path) -> None:
    """`import pipeline` from the root works by accident and makes a second copy of every class."""
    files = [*source_files(repository), *(repository / "tests").rglob("*.py")]
    bare = [
        f"{file.relative_to(repository)}: {module}"
        for file in files
        for module in imported_modules(file)
        if module.split(".")[0] in (*PACKAGED_FOLDERS, "cli")
    ]
    assert bare == []


def test_ruff_forbids_it_too(repository: Path) -> None:
    configuration = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "ruff"
    ]["lint"]
    assert "TID" in configuration["select"]
    assert set(configuration["flake8-tidy-imports"]["banned-api"]) >= {*PACKAGED_FOLDERS, "cli"}


def test_no_module_is_loaded_twice(repository: Path) -> None:
    """Every module imported in one process, from the root: each file belongs to one name."""
    names = sorted(
        "mimicme." + ".".join(file.relative_to(repository).with_suffix("").parts)
        for file in source_files(repository)
        if file.name != "__init__.py"
    )
    code = (
        "import importlib, os, sys, collections\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "seen = collections.defaultdict(set)\n"
        "for name, module in list(sys.modules.items()):\n"
        "    file = getattr(module, '__file__', None)\n"
        f"    if file and os.path.realpath(file).startswith({str(repository) + os.sep!r}):\n"
        "        seen[os.path.realpath(file)].add(name)\n"
        "ours = {f: n for f, n in seen.items() if '.venv' not in f and 'site-packages' not in f}\n"
        f"assert len(ours) >= {len(names)}, ours\n"
        "print({f: n for f, n in ours.items() if len(n) > 1} or 'once')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "once"


def test_pinned_versions_satisfy_the_bounds(repository: Path, setup_cfg: configparser.ConfigParser) -> None:
    requirements = pytest.importorskip("packaging.requirements")
    pins = {}
    for line in lines((repository / "constraints.txt").read_text(encoding="utf-8")):
        if not line.startswith("#"):
            pin = requirements.Requirement(line)
            pins[name_of(pin.name)] = next(iter(pin.specifier)).version
    extras = setup_cfg["options.extras_require"]
    wanted = lines(setup_cfg["options"]["install_requires"])
    wanted += [
        r
        for extra in ("menpo3d", "dask", "draco", "loaders", "interop", "test", "dev")
        for r in lines(extras[extra])
    ]
    for text in wanted:
        requirement = requirements.Requirement(text)
        assert requirement.specifier.contains(pins[name_of(requirement.name)]), text


def test_console_script_is_the_command_line() -> None:
    scripts = importlib.metadata.entry_points(group="console_scripts", name="mimicme")
    assert {script.value for script in scripts} == {"mimicme.cli:main"}


def test_installer_finds_pins_and_wheels(installer: ModuleType, repository: Path, tmp_path: Path) -> None:
    pins = installer.read_pins(repository / "constraints.txt")
    for name in (*installer.BUILT_HERE, *installer.BUILD_TOOLS):
        assert pins[name.lower()].lower().startswith(name.lower() + "==")
    assert not installer.have_wheel(tmp_path, "menpo3d", {"menpo3d": "menpo3d==0.8.6"})
    (tmp_path / "menpo3d-0.8.5-py3-none-any.whl").touch()
    (tmp_path / "menpo3d-0.8.6-cp27-cp27m-linux_x86_64.whl").touch()
    assert not installer.have_wheel(tmp_path, "menpo3d", {"menpo3d": "menpo3d==0.8.6"})
    (tmp_path / "menpo3d-0.8.6-py3-none-any.whl").touch()
    assert installer.have_wheel(tmp_path, "menpo3d", {"menpo3d": "menpo3d==0.8.6"})


def test_installer_names_what_is_missing_and_the_command(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "loads", lambda library: library != "libGL.so.1")
    monkeypatch.setattr(installer.shutil, "which", lambda name: "/usr/bin/" + name)
    missing = installer.missing_packages(need_compiler=False)
    assert set(missing) == {"libgl1"}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(
        installer.subprocess, "run", lambda *a, **k: pytest.fail("ran a command without being root")
    )
    with pytest.raises(installer.SetupError) as refusal:
        installer.require_system_packages(missing)
    assert "libGL.so.1" in str(refusal.value)
    assert "sudo apt-get install -y --no-install-recommends libgl1" in str(refusal.value)


@pytest.fixture
def make(repository: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the Makefile where all is installed, with a `mimicme` that has two stages and repeats what it is told."""
    names = ("setup.cfg", "constraints.txt", "tools/install.py", "stages/__init__.py")
    program, installed = tmp_path / ".venv/bin/mimicme", tmp_path / ".venv/.mimicme-installed"
    for path in (*(tmp_path / name for name in names), program):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    program.write_text(
        '#!/bin/sh\nif [ "$1" = stages ]; then printf "first\\nsecond\\n"; else echo "did $*"; fi\n'
    )
    program.chmod(0o755)
    installed.touch()
    shutil.copy(repository / "Makefile", tmp_path)

    def make(*arguments: str) -> subprocess.CompletedProcess[str]:
        # nothing else: `make test` exports its own variables, and what it was given on the command line
        environ = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        return subprocess.run(["make", *arguments], cwd=tmp_path, capture_output=True, text=True, env=environ)

    return make


def test_make_help_lists_the_targets(make: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    said = make("help").stdout
    targets = set(re.findall(r"^  ([a-z]+) ", said, flags=re.MULTILINE))
    assert targets >= {"help", "install", "lint", "test", "demo", "bench", "report", "clean"}
    assert "make install" in said.splitlines()[-1]
    make("first", "WORKSPACE=w")
    assert make("help").stdout.splitlines()[-1].endswith("first second")


def test_make_has_a_target_for_every_stage_that_mimicme_names(
    make: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = make("second", "WORKSPACE=w", "JOBS=3", "ARGS=--force")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "did second w --jobs 3 --force")
    assert "Which workspace?" in make("second").stderr
    wrong = make("tset")
    assert wrong.returncode == 2
    assert "no target 'tset'" in wrong.stderr and "first second" in wrong.stderr


def test_make_installs_nothing_to_help_or_to_clean(
    make: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    make("first", "WORKSPACE=w")
    listed = (tmp_path / ".build/stages.mk").read_text()
    for name in (*PACKAGED_FOLDERS, "tests"):
        (tmp_path / name).mkdir(exist_ok=True)
    # all is out of date, and nothing can be installed
    (tmp_path / ".venv/bin/mimicme").write_text("#!/bin/sh\nexit 3\n")
    for path in (tmp_path / ".build/stages.mk", tmp_path / ".venv/.mimicme-installed"):
        os.utime(path, (0, 0))
    said = make("help")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines()[-1].endswith("first second")
    assert (tmp_path / ".build/stages.mk").read_text() == listed
    done = make("clean")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["rm", "find"]
    assert not (tmp_path / ".build").exists() and not (tmp_path / ".venv").exists()


def test_make_knows_its_own_targets(
    make: Callable[..., subprocess.CompletedProcess[str]], repository: Path
) -> None:
    said = make("tset").stderr.partition("There are: ")[2].partition(", and the stages")[0]
    rules = re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*said.split(), "workspace-given"} == set(rules) > {"help", "clean", "test"}


def test_make_keeps_no_list_of_stages_that_could_not_be_read(
    make: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    program = tmp_path / ".venv/bin/mimicme"
    sound = program.read_text()
    program.write_text("#!/bin/sh\nexit 3\n")
    assert make("second", "WORKSPACE=w").returncode == 2
    program.write_text(sound)
    assert make("second", "WORKSPACE=w").stdout.splitlines()[-1] == "did second w"


def test_no_file_names_a_machine_or_a_package_host(repository: Path) -> None:
    """Paths of somebody's machine and addresses of package indexes belong to the user's own configuration."""
    forbidden = re.compile(
        r"/work/|/root/|/home/\w|--index-url|--extra-index-url|pypi\.org|files\.pythonhosted"
    )
    files = [
        "setup.cfg",
        "pyproject.toml",
        "Makefile",
        ".ci/run",
        "constraints.txt",
        "tools/install.py",
        "README.md",
    ]
    files += [path.relative_to(repository).as_posix() for path in (repository / "docs").glob("*.md")]
    found = {
        name: hits
        for name in files
        if (hits := forbidden.findall((repository / name).read_text(encoding="utf-8")))
    }
    assert found == {}


def codes_in(file: Path) -> Iterator[str]:
    """Codes of rejections and notes: what is written out in the calls that make them."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        function = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if function in ("FrameRejected", "fail", "note"):
            texts = [
                a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)
            ]
            yield from (text for text in texts[:1] if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text))


def pages(repository: Path) -> dict[Path, str]:
    """What people read: README and the pages in docs/, with their text."""
    files = [repository / "README.md", *sorted((repository / "docs").glob("*.md"))]
    return {file: file.read_text(encoding="utf-8") for file in files}


def prose(text: str) -> list[str]:
    """The lines of a page that are no code, neither fenced nor indented as a block."""
    kept, fenced = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            kept.append(line)
    return kept


def table_rows(lines_of_page: list[str]) -> list[list[str]]:
    """The cells of every row of every table, without the lines below the heads."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
        for line in lines_of_page
        if line.startswith("|")
    ]
    return [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def anchors(text: str) -> set[str]:
    """What GitHub lets a link point to in a page: its headings in small letters, without marks, with hyphens."""
    found: set[str] = set()
    for line in prose(text):
        if heading := re.fullmatch(r"#{1,6} +(.*?)(?: +#+)? *", line):
            shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            plain = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            again = [plain, *(f"{plain}-{k}" for k in range(1, 100))]
            found.add(next(name for name in again if name not in found))
    return found


def links(text: str) -> list[str]:
    """Targets of the links and pictures of a page, those to other sites left out."""
    shown = re.sub(r"`[^`]*`", "", "\n".join(prose(text)))
    targets = re.findall(r"\]\(\s*([^)\s]+)[^)]*\)", shown)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def test_troubleshooting_explains_every_code_in_its_tables(repository: Path) -> None:
    text = (repository / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    explained = {
        code
        for row in table_rows(prose(text))
        if len(row) == 3 and row[1]
        for code in re.findall(r"`([^`]+)`", row[0])
    }
    codes = {code for file in source_files(repository) for code in codes_in(file)}
    assert len(codes) > 10
    assert codes - explained == set()


def test_troubleshooting_explains_every_exit_status(repository: Path) -> None:
    from mimicme.cli import main

    text = (repository / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    explained = {row[0].strip("*") for row in table_rows(prose(text)) if len(row) == 2 and row[1]}
    told = re.search(r"Exit status: (.+?\binterrupted)", " ".join((main.help or "").split()))
    assert told is not None
    assert set(re.findall(r"\b\d+\b", told[1])) == {s for s in explained if s.isdigit()}


def test_stages_page_has_a_heading_for_every_stage_that_readme_links_to(repository: Path) -> None:
    from mimicme.stages import FLOW

    text = pages(repository)
    assert set(FLOW) <= anchors(text[repository / "docs" / "stages.md"])
    readme = text[repository / "README.md"]
    assert [s for s in FLOW if f"| [`{s}`](docs/stages.md#{s}) |" not in readme] == []


def test_readme_is_two_screens_and_links_every_page(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    assert 120 <= len(text.splitlines()) <= 150
    there = {path.relative_to(repository).as_posix() for path in (repository / "docs").glob("*.md")}
    assert there - {target.partition("#")[0] for target in links(text)} == set()


def test_no_cell_of_a_table_is_over_120_characters(repository: Path) -> None:
    long = [
        f"{file.name}: {cell[:60]}"
        for file, text in pages(repository).items()
        for row in table_rows(prose(text))
        for cell in row
        if len(cell) > 120
    ]
    assert long == []


def test_links_lead_somewhere(repository: Path) -> None:
    texts = pages(repository)
    known = {file.resolve(): anchors(text) for file, text in texts.items()}
    broken = []
    for file, text in texts.items():
        for target in links(text):
            path, _, anchor = target.partition("#")
            there = (file.parent / path).resolve() if path else file.resolve()
            if not there.exists() or (anchor and anchor not in known.get(there, ())):
                broken.append(f"{file.name}: {target}")
    assert broken == []


@pytest.mark.parametrize("page", ["measurements.md", "measurement-log.md"])
def test_every_figure_says_how_it_was_measured(page: str, repository: Path) -> None:
    text = (repository / "docs" / page).read_text(encoding="utf-8")
    head = ["figure", "command", "commit", "machine"]
    rows = [row for row in table_rows(prose(text)) if len(row) == len(head)]
    heads = [row for row in rows if row == head]
    figures = [row for row in rows if row != head]
    assert heads and figures
    assert [row for row in figures if not all(row)] == []
    assert [row for row in figures if not re.fullmatch(r"[0-9a-f]{7,40}", row[2])] == []


def test_settings_named_in_the_pages_exist(repository: Path) -> None:
    from mimicme.pipeline.config import load
    from mimicme.stages import STAGES

    text = "\n".join(pages(repository).values())
    quoted = re.findall(r"--set '([^']+=[^']+)'", text)
    named = {*quoted, *re.findall(r"--set ([^\s'`]+=[^\s'`]+)", text)}
    assert named
    load(None, STAGES, environ={}, sets=sorted(named))  # ConfigError for a name or value that is wrong


def test_architecture_is_one_page_and_has_a_line_for_every_folder(repository: Path) -> None:
    text = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    folders = {f.relative_to(repository).parts[0] for f in repository.glob("*/**/*.py")}
    listed = set(re.findall(r"^    (\w+)/ ", text, flags=re.MULTILINE))
    assert listed == {f for f in folders if not f.startswith(".")} - {"build", "dist"}


@pytest.fixture(scope="module")
def modules(repository: Path) -> ModuleType:
    return tool(repository, "modules")


def test_every_module_says_what_it_is_and_the_page_of_modules_has_it(
    modules: ModuleType, repository: Path
) -> None:
    files = [file for room in modules.rooms(repository) for file in room.glob("*.py")]
    assert len(files) > 400
    assert [f.name for f in files if not 10 < len(modules.sentence(f)) < 300] == []
    written = (repository / modules.PAGE).read_text(encoding="utf-8")
    assert written == modules.page(repository), "make modules"


def test_a_module_is_told_by_the_first_sentence_of_its_docstring(modules: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    for text, said in {
        "Poses (see pose.py): 0.5 mm off\nat most.  More of it.": "Poses (see pose.py): 0.5 mm off at most",
        "Only a line\n\nAnd more.": "Only a line",
    }.items():
        file.write_text(f'"""{text}"""\nimport nothing_that_exists\n', encoding="utf-8")
        assert modules.sentence(file) == said
    file.write_text("x = 1\n", encoding="utf-8")
    assert modules.sentence(file) == ""


def test_every_folder_of_tests_has_its_place(repository: Path) -> None:
    """In `make test`, or in a make target of its own that installs the extra of its name where there is one."""
    settings = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    usual = {Path(path).name for path in settings["testpaths"]}
    folders = {
        path.relative_to(repository / "tests").parts[0]
        for path in (repository / "tests").glob("*/**/test_*.py")
    }
    assert usual <= folders | {"test_*.py"}
    rules = dict(re.findall(r"^test-(\w+): (\S+)", (repository / "Makefile").read_text(), flags=re.M))
    assert set(rules) == folders - usual
    extras = configparser.ConfigParser()
    extras.read(repository / "setup.cfg", encoding="utf-8")
    for name, needs in rules.items():
        assert (name in extras["options.extras_require"]) == needs.endswith(f".extra-{name}"), name
