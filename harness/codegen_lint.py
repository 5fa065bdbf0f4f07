"""Static checks of code objects: LDS, spills, matrix instructions, and 32-bit products that become addresses.

What they find needs no run: a kernel that computes right on one part may not start on another (ROCm/aiter#3257),
become an fp16 product under the wrong FP8 flavour (vllm-project/vllm#41812), or wrap once a pool is large enough
(vllm-project/vllm#46222).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rocassay.harness.arch import ArchProfile, profile
from rocassay.harness.cases import Case
from rocassay.harness.codegen import CodeObject, compile_launch
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.probes.probe import Observation

_ASSIGNMENT = re.compile(r'^(?P<results>%[\w:]+(?:, %[\w:]+)*) = "?(?P<op>[\w.]+)"?(?P<rest>.*)')
_VALUE = re.compile(r"%\w+(?:#\d+)?")
_LOCATION = re.compile(r"^(#\w+) = loc\((.*)\)$", re.MULTILINE)
_PLACE = re.compile(r'"([^"]+)":(\d+):\d+')

_CONSTANT = re.compile(r"(%\w+) = arith\.constant (?:dense<)?(-?\d+)>? :")

_QUOTIENTS = frozenset({"arith.divsi", "arith.divui"})
_BOUNDED = frozenset({"arith.remsi", "arith.remui", "arith.andi"})
"""Results that a second operand bounds, unless it was loaded, too."""
_OPAQUE = frozenset({"arith.cmpi", "arith.cmpf", "tt.addptr", "tt.store", "amdg.buffer_store"})


@dataclass(frozen=True, slots=True)
class NarrowProduct:
    """A 32-bit product of an integer from memory that reaches an address."""

    line: int | None
    """Line of the kernel's source; None where the IR does not say."""

    def __str__(self) -> str:
        return f"a loaded integer is multiplied in 32 bits on the way to an address (line {self.line})"


@dataclass(slots=True)
class _Flow:
    """What is known of a function's values."""

    constants: dict[str, int] = field(default_factory=dict[str, int])
    """Integers, and tensors full of one."""
    loaded: dict[str, int] = field(default_factory=dict[str, int])
    """Values that come from memory, and by what they have been divided since."""
    products: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """Locations of the 32-bit products that a value carries."""
    found: frozenset[str] = frozenset()
    """Locations of those that reached an address."""

    def state(self) -> tuple[dict[str, int], dict[str, frozenset[str]], frozenset[str]]:
        return dict(self.loaded), dict(self.products), self.found

    def divisor(self, values: list[str]) -> int | None:
        """The least by which loaded ones among `values` have been divided; None when none was loaded."""
        return min((self.loaded[value] for value in values if value in self.loaded), default=None)

    def carried(self, values: list[str]) -> frozenset[str]:
        return frozenset[str]().union(*(self.products.get(value, frozenset()) for value in values))

    def join(self, target: str, values: list[str], divided: int = 1) -> None:
        """`target` may be any of `values` or be computed from all of them, and is then divided."""
        divisor = self.divisor(values)
        if divisor is not None:
            self.loaded[target] = min(self.loaded.get(target, divisor * divided), divisor * divided)
        if carried := self.carried(values):
            self.products[target] = self.products.get(target, frozenset()) | carried

    def multiply(self, target: str, values: list[str], location: str) -> None:
        """A 32-bit product; undoing a division by no smaller number, it is no larger than what was loaded."""
        divisor = self.divisor(values)
        factor = next((self.constants[value] for value in values if value in self.constants), None)
        if divisor is not None and factor is not None and 0 < factor <= divisor:
            self.loaded[target] = divisor // factor
        elif divisor is not None:
            self.loaded[target] = 1
            self.products[target] = self.products.get(target, frozenset()) | {location}
        if carried := self.carried(values):
            self.products[target] = self.products.get(target, frozenset()) | carried


def narrow_products(ir: str) -> tuple[NarrowProduct, ...]:
    """32-bit products of loaded integers that reach an address, in Triton or Gluon IR.

    A page or slot number times a stride passes 2^31 as soon as the pool is large enough, so that the product has to
    be one of 64 bits; widening it afterwards is too late. Harmless are a remainder, which is an offset within a page,
    and a quotient times no more than its divisor, which is no larger than what was divided.
    """
    flow = _Flow({name: int(value) for name, value in _CONSTANT.findall(ir)})
    before = None
    while flow.state() != before:  # loops carry values backwards
        before = flow.state()
        _pass(ir, flow)
    places = dict(_LOCATION.findall(ir))
    lines = {_line_of(location, places) for location in flow.found}
    return tuple(NarrowProduct(line) for line in sorted(lines, key=lambda line: line or 0))


def _pass(ir: str, flow: _Flow) -> None:
    regions: list[tuple[int, str, list[str]]] = []
    for text in ir.splitlines():
        line = text.strip()
        indent = len(text) - len(text.lstrip())
        if line.startswith("}") and regions and regions[-1][0] == indent and "else" not in line:
            regions.pop()
        match = _ASSIGNMENT.match(line)
        operation = match["op"] if match else line.partition(" ")[0]
        rest = match["rest"] if match else line[len(operation) :]
        result = match["results"].partition(":")[0] if match else ""
        if operation in ("scf.for", "scf.if", "scf.while"):
            regions.append((indent, result, _loop(rest, flow)))
        elif operation == "scf.yield" and regions:
            _yielded(_VALUE.findall(rest.partition(" : ")[0]), regions[-1], flow)
        else:
            _step(operation, result, rest, flow)


def _loop(rest: str, flow: _Flow) -> list[str]:
    """Joins a loop's arguments with what they begin with, and returns their names in order."""
    if counter := re.match(r" (%\w+) = (%\w+) to ", rest):
        flow.join(counter[1], [counter[2]])
    _, _, carried = rest.partition("iter_args(")
    pairs = re.findall(r"(%\w+) = (%\w+(?:#\d+)?)", carried.partition(")")[0])
    for name, initial in pairs:
        flow.join(name, [initial])
    return [name for name, _ in pairs]


def _yielded(values: list[str], region: tuple[int, str, list[str]], flow: _Flow) -> None:
    _, result, arguments = region
    for number, value in enumerate(values):
        flow.join(f"{result}#{number}", [value])
        if len(values) == 1:
            flow.join(result, [value])
        if number < len(arguments):
            flow.join(arguments[number], [value])


def _step(operation: str, result: str, rest: str, flow: _Flow) -> None:
    operands, _, types = rest.partition(" : ")
    values = _VALUE.findall(operands)
    if operation in ("tt.addptr", "amdg.buffer_load", "amdg.buffer_store"):
        addresses = values[1:2] if operation == "tt.addptr" else re.findall(r"\[(%\w+(?:#\d+)?)\]", operands)
        flow.found |= flow.carried(addresses)
    if operation in ("tt.load", "amdg.buffer_load"):
        if re.search(r"ptr<i(32|64)>", types):
            flow.loaded[result] = 1
    elif operation == "arith.muli" and re.search(r"\bi32\b|xi32\b", types):
        flow.multiply(result, values, rest.rpartition("loc(")[2].rstrip(") "))
    elif operation in _QUOTIENTS and values[-1] in flow.constants:
        flow.join(result, values[:1], divided=max(1, flow.constants[values[-1]]))
    elif operation in _BOUNDED and values[-1] not in flow.loaded:
        return
    elif operation not in _OPAQUE and result:
        # A selection's condition is none of its values.
        flow.join(result, values[1:] if operation == "arith.select" else values)


def _line_of(location: str, places: dict[str, str]) -> int | None:
    """Line of a location such as `#loc12`, of the innermost function where calls were inlined."""
    for _ in range(len(places) + 1):
        if place := _PLACE.search(location):
            return int(place[2])
        reference = re.search(r"#\w+", location)
        if reference is None or reference[0] not in places:
            return None
        location = places[reference[0]]
    return None


def problems(code: CodeObject, *, fp8_dot: bool = False) -> Iterator[str]:
    """What keeps a code object from running as it should; `fp8_dot` says that it multiplies native FP8 numbers."""
    facts = profile(code.arch)
    if code.lds_bytes > facts.lds_bytes:
        yield f"it takes {code.lds_bytes} of {facts.lds_bytes} bytes of LDS, so that no launch can start"
    if code.spills or code.scratch_bytes:
        yield f"{code.spills} registers spill to {code.scratch_bytes} bytes of scratch a lane"
    if fp8_dot:
        yield from _foreign_products(code, facts)
    yield from (str(product) for product in narrow_products(code.ir))


def _foreign_products(code: CodeObject, facts: ArchProfile) -> Iterator[str]:
    if facts.fp8_matrix_instruction is None or not code.instructions(facts.fp8_matrix_instruction):
        yield "no FP8 matrix instruction multiplies its FP8 numbers: the format is not the hardware's"
    if wide := code.instructions(facts.f16_matrix_instruction):
        yield f"FP8 numbers are multiplied by {wide[0]} after an upcast: the format is not the hardware's"


@dataclass(frozen=True, slots=True)
class Codegen:
    """Every kernel that a case launched, compiled for the case's arch, passes the static checks."""

    applies: Callable[[Case], bool]
    """Cases worth a compilation: a kernel's code depends on few of their axes."""
    dots: frozenset[str] = frozenset()
    """Kernels that multiply FP8 matrices, natively where the case's format is the arch's own."""
    name: str = "codegen"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red with the first kernel and what is wrong with its code object."""
        reason = "a right result in one place does not make a kernel fit the LDS, registers and pools of another"
        if seen.provider != "rocassay" or seen.target.backend == "cuda" or not self.applies(seen.case):
            return Verdict.not_applicable(self.name, "this case compiles no AMD code of its own", reason)
        native = seen.case.fp8 in profile(seen.case.arch).native_fp8
        wrong: list[str] = []
        for launch in seen.trace.launches:
            code = compile_launch(launch, seen.case.arch)
            found = problems(code, fp8_dot=native and launch.name in self.dots)
            wrong += [f"{launch.name} on {code.arch}: {problem}" for problem in found]
        detail = wrong[0] if wrong else f"{len(seen.trace.launches)} kernels fit {seen.case.arch}"
        return Verdict(self.name, not wrong, detail, float(len(wrong)), 0.0, reason)
