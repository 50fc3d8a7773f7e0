"""Which instruction set each program uses, as far as it can be told or chosen."""

# What `--isa` may name, and the flags of /proc/cpuinfo that it needs.
FLAGS = {
    "avx2": {"avx2", "fma"},
    "avx512": {"avx512f", "avx512vl", "avx512bw", "avx512dq"},
}

# What keeps a program to a set, by the name of the program. OpenVINO and PyTorch hold oneDNN.
VARIABLES = {
    "ours": {"GATERNET_ISA": {"avx2": "avx2", "avx512": "avx512"}},
    "openvino": {"ONEDNN_MAX_CPU_ISA": {"avx2": "AVX2", "avx512": "AVX512_CORE"}},
    "pytorch": {
        "ONEDNN_MAX_CPU_ISA": {"avx2": "AVX2", "avx512": "AVX512_CORE"},
        "ATEN_CPU_CAPABILITY": {"avx2": "avx2", "avx512": "avx512"},
        "MKL_ENABLE_INSTRUCTIONS": {"avx2": "AVX2", "avx512": "AVX512"},
    },
    "peak": {"OPENBLAS_CORETYPE": {"avx2": "Haswell", "avx512": "SkylakeX"}},
}


def processor(path="/proc/cpuinfo"):
    """Name and flags; an unknown name and none where there is no such file."""
    name, flags = "unknown processor", set()
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                if key.strip() == "flags":
                    return name, set(value.split())
    except OSError:
        pass
    return name, flags


def detected(flags):
    """The best of the sets above, or None."""
    return next((isa for isa in reversed(FLAGS) if FLAGS[isa] <= flags), None)


def environment(program, isa):
    """The variables that keep `program` to `isa`; none where nothing is asked for or can be."""
    variables = VARIABLES.get(program, {}) if isa else {}
    return {variable: values[isa] for variable, values in variables.items()}


def restricted(program, isa, best):
    """Whether it is sure to use no better set than asked for."""
    return isa in (None, best) or program in VARIABLES


def described(program, isa, best, reported=None):
    """What the tables say: reported by the program, chosen, or what it finds by itself."""
    if reported:
        return reported
    if isa and program in VARIABLES:
        return f"{isa} ({', '.join(environment(program, isa))})"
    found = f"chosen by itself, at most {best or 'unknown'}"
    return found if restricted(program, isa, best) else f"{found}; it cannot be restricted"
