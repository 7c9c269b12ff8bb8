#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fails where the documentation has fallen behind what it documents.

    check.py introspection [--update]  the listings of org.ptraced.Tracer1(5) against bus-api/introspection
    check.py ptracectl PROGRAM         ptracectl(1) and the completions against --help
    check.py symbols                   the pages of section 3 against libptraced.sym and the header
    check.py limits                    the limits that errors name, against ptraced.conf(5) and org.ptraced.Tracer1(5)
    check.py example PROGRAM           the README's example against docs/examples, and run
"""

import os
import re
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAN = os.path.join(TOP, "docs", "man")
BUS_PAGE = os.path.join(MAN, "org.ptraced.Tracer1.xml")
INTROSPECTION = os.path.join(TOP, "bus-api", "introspection")

PATHS = {
    "org.ptraced.Tracer1.Manager": "/org/ptraced/Tracer1",
    "org.ptraced.Tracer1.Session": "/org/ptraced/Tracer1/session/SESSION",
    "org.ptraced.Tracer1.Process": "/org/ptraced/Tracer1/session/SESSION/process/PID",
    "org.ptraced.Tracer1.Thread": "/org/ptraced/Tracer1/session/SESSION/process/PID/thread/TID",
}
CHANGES = "org.freedesktop.DBus.Property.EmitsChangedSignal"


def read(*path):
    with open(os.path.join(TOP, *path), encoding="utf-8") as f:
        return f.read()


# ---- introspection ----


def describe_argument(arg):
    direction = arg.get("direction")
    return f"{direction + ' ':4}{arg.get('type')} {arg.get('name')}" if direction else f"{arg.get('type')} {arg.get('name')}"


def describe_call(element):
    """One method or signal, an argument a line."""
    start = element.get("name") + "("
    return start + (",\n" + " " * len(start)).join(map(describe_argument, element.findall("arg"))) + ");"


def describe_property(element):
    annotations = {a.get("name"): a.get("value") for a in element.findall("annotation")}
    access = {"read": "readonly", "write": "writeonly"}.get(element.get("access"), "readwrite")
    return (f'@{CHANGES}("{annotations.get(CHANGES, "true")}")\n'
            f"{access} {element.get('type')} {element.get('name')};")


def describe(interface):
    """An interface as the page shows it."""
    lines = [f"node {PATHS[interface.get('name')]} {{", f"  interface {interface.get('name')} {{"]
    for tag, title, one in (("method", "methods", describe_call), ("signal", "signals", describe_call),
                            ("property", "properties", describe_property)):
        elements = interface.findall(tag)
        if elements:
            lines.append(f"    {title}:")
            lines += [textwrap.indent(one(e), " " * 6) for e in elements]
    return "\n".join(lines + ["  };", "};"]) + "\n"


def interfaces():
    for name in PATHS:
        yield ElementTree.parse(os.path.join(INTROSPECTION, name + ".xml")).getroot().find("interface")


def undocumented(interface, section):
    """Members without a word of prose in their interface's section."""
    for element in interface:
        name = element.get("name")
        wanted = f"<varname>{name}</varname>" if element.tag == "property" else f"<function>{name}()</function>"
        if wanted not in section:
            yield f"{interface.get('name')}: no prose says {wanted}"


def check_introspection(update=None):
    page = read(BUS_PAGE)
    problems = []
    for interface in interfaces():
        name = interface.get("name")
        listing = re.compile(rf'(<programlisting role="{re.escape(name)}">\n)(.*?)(</programlisting>)', re.DOTALL)
        found = listing.search(page)
        if not found:
            problems.append(f"there is no <programlisting role=\"{name}\">")
            continue
        if found.group(2) != describe(interface):
            if update:
                page = page[:found.start(2)] + describe(interface) + page[found.end(2):]
            else:
                problems.append(f"the listing of {name} is not fresh: docs/check.py introspection --update")
        section = page[page.rindex("<refsect1", 0, found.start()):page.index("</refsect1>", found.start())]
        problems += undocumented(interface, section)
    if update:
        with open(BUS_PAGE, "w", encoding="utf-8") as f:
            f.write(page)
    return problems


# ---- ptracectl ----

# Of a line of --help, what stands before the two spaces that its explanation follows.
HELP_OPTION = re.compile(r"^ +(?:(-[A-Za-z]) )? *(--[a-z-]+)(=\S+)?  ", re.MULTILINE)
HELP_VERB = re.compile(r"^  ([a-z]+) .*?  \S", re.MULTILINE)


def options_of_help(text):
    """Every option, as it is written: '-f', '--follow', '--output='."""
    for short, name, argument in HELP_OPTION.findall(text):
        yield from filter(None, (short, name + ("=" if argument else "")))


def terms_of_page(page, tag):
    """What the page explains: the first words of the terms of its lists."""
    for entry in page.iter("term"):
        for element in entry.findall(tag):
            yield element.text


def check_ptracectl(program):
    shown = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
    start, end = shown.index("Verbs:"), shown.index("Options:")
    verbs = set(HELP_VERB.findall(shown[start:end]))
    options = set(options_of_help(shown[end:]))
    page = ElementTree.parse(os.path.join(MAN, "ptracectl.xml")).getroot()
    explained = {re.sub(r"(?<==).*", "", o) for o in terms_of_page(page, "option")}
    explained_verbs = {v.split()[0] for v in terms_of_page(page, "command")}
    problems = [] if verbs and options else ["no verb or no option can be read from --help"]
    problems += [f"ptracectl(1) does not explain the option {o}" for o in sorted(options - explained)]
    problems += [f"ptracectl(1) explains {o}, which --help does not have" for o in sorted(explained - options)]
    problems += [f"ptracectl(1) does not explain the verb {v}" for v in sorted(verbs - explained_verbs)]
    problems += [f"ptracectl(1) explains {v}, which --help does not have" for v in sorted(explained_verbs - verbs)]
    common = set(options_of_help(shown[end:shown.index("Options of single verbs")]))
    for verb in sorted(verbs):
        problems += check_completion(program, verb, common)
    return problems


# ---- Completion: what --help says of a verb is offered for it, and nothing else ----

COMPLETION = os.path.join(TOP, "client", "ctl", "completion")

# bash-completion's own part of the work.
BASH = r'''
_init_completion() { cur=${COMP_WORDS[-1]} prev=${COMP_WORDS[-2]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
compopt() { :; }
. "$1"
COMP_WORDS=(ptracectl "$2" --) COMP_CWORD=2
_ptracectl
printf '%s\n' "${COMPREPLY[@]}"
'''


def bash_options(verb):
    script = os.path.join(COMPLETION, "ptracectl.bash")
    done = subprocess.run(["bash", "-c", BASH, "bash", script, verb], capture_output=True, text=True, timeout=30,
                          check=True)
    return {o.removesuffix("=") for o in done.stdout.split()}


def zsh_options(verb):
    text = read("client/ctl/completion/_ptracectl")
    words = dict(re.findall(r"^    (common|following|session)=\((.*?)\)$", text, re.MULTILINE | re.DOTALL))
    cases = re.findall(r"^    ([a-z* |]+)\)\n(.*?);;", text[text.index("case $words[1]"):], re.MULTILINE | re.DOTALL)
    case = next(body for names, body in cases if verb in names.split(" | ") or names == "*")
    for name, body in words.items():
        case = re.sub(rf"\${name}\b", lambda _, body=body: body, case)
    # An option as it is described, not as another that it excludes.
    return set(re.findall(r"(--[a-z-]+)=?(?:\[|\})", case))


def fish_options(verb):
    found = set()
    for line in read("client/ctl/completion/ptracectl.fish").replace("\\\n", " ").splitlines():
        option = re.search(r"^complete .* -l ([a-z-]+)", line)
        verbs = re.search(r"-n '__ptracectl_verb ([a-z ]+)'", line)
        if option and (not verbs or verb in verbs[1].split()):
            found.add("--" + option[1])
    return found


def check_completion(program, verb, common):
    shown = subprocess.run([program, verb, "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
    options = {o.removesuffix("=") for o in {*options_of_help(shown), *common} if o.startswith("--")}
    for shell, offered in (("bash", bash_options(verb)), ("zsh", zsh_options(verb)), ("fish", fish_options(verb))):
        yield from (f"{shell} does not offer '{verb} {o}'" for o in sorted(options - offered))
        yield from (f"{shell} offers '{verb} {o}', which --help does not have" for o in sorted(offered - options))


# ---- symbols ----


def squeeze(text):
    """C without the spaces that don't count."""
    return re.sub(r"\s*([(),*;])\s*", r"\1", " ".join(text.split()))


def prototypes_of_header():
    code = re.sub(r"/\*.*?\*/", "", read("client/lib/ptraced/ptraced.h"), flags=re.DOTALL)
    return {m.group(1): squeeze(m.group()) for m in re.finditer(r"^\w[^;{}]*?(ptraced_\w+)\([^;{}]*\);", code, re.MULTILINE)}


def prototypes_of_page(page):
    for prototype in page.iter("funcprototype"):
        head = "".join(prototype.find("funcdef").itertext())
        parameters = ["".join(p.itertext()) for p in prototype.findall("paramdef")]
        yield prototype.findtext("funcdef/function"), squeeze(f"{head}({', '.join(parameters)});")


def check_symbols():
    header = prototypes_of_header()
    exported = set(re.findall(r"^    (ptraced_\w+);$", read("client/lib/libptraced.sym"), re.MULTILINE))
    pages = {}
    for file in sorted(os.listdir(MAN)):
        if not file.endswith(".xml"):
            continue
        page = ElementTree.parse(os.path.join(MAN, file)).getroot()
        if page.findtext("refmeta/manvolnum") != "3":
            continue
        named = {n.text for n in page.iter("refname")}
        prototypes = dict(prototypes_of_page(page))
        declared = set(prototypes)
        for name in named | declared:
            pages.setdefault(name, []).append(file)
        if named - {"libptraced"} != declared:
            yield f"{file}: names and synopsis differ in {sorted((named ^ declared) - {'libptraced'})}"
        for name in sorted(declared & set(header)):
            if prototypes[name] != header[name]:
                yield f"{file} says {prototypes[name]} and the header {header[name]}"
    for name in sorted(exported - set(pages)):
        yield f"no page explains {name}()"
    for name in sorted(set(pages) - exported - {"libptraced"}):
        yield f"{pages[name][0]} explains {name}(), which is not exported"
    for name, files in sorted(pages.items()):
        if len(files) > 1:
            yield f"{name}() is explained twice: {', '.join(files)}"


# ---- limits ----

LIMIT_NAME = re.compile(r"\b[A-Z][A-Za-z]*Max\b(?!=)")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
REFUSAL = re.compile(r"PTRACED_ERROR_LIMIT_EXCEEDED,(.*?)\);", re.DOTALL)


def daemon_sources():
    for folder, _, files in sorted(os.walk(os.path.join(TOP, "daemon"))):
        for file in sorted(files):
            if file.endswith(".c"):
                path = os.path.relpath(os.path.join(folder, file), TOP)
                yield path, read(path)


def check_limits():
    """Whoever is refused is told a name, and finds it in one of the two pages."""
    named = set()
    for path, source in daemon_sources():
        named |= {name for string in STRING.findall(source) for name in LIMIT_NAME.findall(string)}
        for refusal in REFUSAL.findall(source):
            text = "".join(string[1:-1] for string in STRING.findall(refusal))
            if not re.search(r"[Tt]he limit (%s|[A-Z]\w+=?) ", text):
                yield f"{path}: a refusal names no limit: {text}"
    conf = ElementTree.parse(os.path.join(MAN, "ptraced.conf.xml")).getroot()
    settable = {name.removesuffix("=") for name in terms_of_page(conf, "varname")}
    section = next(s for s in ElementTree.parse(BUS_PAGE).getroot().iter("refsect1") if s.findtext("title") == "Limits")
    fixed = {name.text for row in section.iter("row") for name in row.iter("varname")}
    yield from (f"no page explains the limit {name}" for name in sorted(named - settable - fixed))
    yield from (f"a page explains {name}, which no code names" for name in sorted((settable | fixed) - named))
    yield from (f"both pages explain {name}" for name in sorted(settable & fixed))


# ---- example ----


def check_example(program):
    source = read("docs/examples/follow.c").partition("*/\n")[2]
    if f"```c\n{source}```" not in read("README.md"):
        yield "the README's example is not docs/examples/follow.c"
    ran = subprocess.run([program, "sh", "-c", "exit 3"], capture_output=True, text=True, timeout=60, check=False)
    kinds = [line.split()[-1] for line in ran.stdout.splitlines()]
    if ran.returncode != 0 or not kinds or (kinds[0], kinds[-1]) != ("exec", "exited"):
        yield f"the example exits with {ran.returncode} and prints {ran.stdout!r} {ran.stderr!r}"


CHECKS = {
    "introspection": check_introspection,
    "ptracectl": check_ptracectl,
    "symbols": check_symbols,
    "limits": check_limits,
    "example": check_example,
}


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in CHECKS:
        sys.exit(__doc__)
    problems = list(CHECKS[sys.argv[1]](*sys.argv[2:]))
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
