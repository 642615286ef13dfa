"""The private Python environment that the peers live in, and what machine and versions a run had."""
import os
import platform
import subprocess
import sys

PACKAGES = ("numpy", "gguf", "llama-cpp-python")


def prepare(folder):
    """Makes the environment once; llama.cpp is built for this machine, as a user who cares for speed would."""
    return install(folder, "gguf, llama_cpp, numpy", ["--no-binary", "llama-cpp-python", *PACKAGES])


def prepare_torch(folder):
    """One for torch, which weighs several gigabytes."""
    return install(folder, "gguf, numpy, torch", ["numpy", "gguf", "torch"])


def prepare_executorch(folder):
    """One for ExecuTorch, which brings torchao and wants a torch that suits them; none where it does not install."""
    try:
        return install(folder, "gguf, numpy, torch, torchao, executorch.exir", ["numpy", "gguf", "torch", "executorch"])
    except subprocess.CalledProcessError:
        print("ExecuTorch does not install here, and is left out", file=sys.stderr)
        return None


def install(folder, modules, arguments):
    python = f"{folder}/bin/python"
    if os.path.exists(python) and subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0:
        return python
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    # GCC 12 knows only the first eight bytes of what `_tile_loadconfig` reads: it drops the rest as never used, and llama.cpp's AMX kernels
    # end with an illegal instruction. So stores that seem unused stay.
    flags = "-DCMAKE_CXX_FLAGS='-fno-tree-dse -fno-dse'" if platform.machine() == "x86_64" else ""
    variables = os.environ | {"CMAKE_ARGS": f"-DGGML_NATIVE=ON {flags}"}
    subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True, env=variables)
    return python


def version(python, package):
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def processor():
    fields = dict(line.split(":", 1) for line in open("/proc/cpuinfo") if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    known = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    model = f"{fields.get('model name', platform.machine())} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"
    return f"{os.cpu_count()} cores of {model}: {' '.join(flag for flag in known if flag in flags)}"
