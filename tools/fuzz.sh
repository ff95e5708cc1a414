#!/bin/sh
# Fuzz each target for so many seconds: fuzz.sh PYTHON SECONDS [--optional]
# atheris has wheels for some Pythons only; with --optional it is no failure if there is none for this one.
set -eu
cd "$(dirname "$0")/.."
python=$1 seconds=$2 optional=${3:-}
packages=.fuzz/$("$python" -c 'import sys; print(sys.implementation.cache_tag)')

if [ ! -d "$packages/atheris" ]; then
    if ! "$python" -m pip --quiet --disable-pip-version-check install --only-binary :all: --target "$packages" 'atheris>=2.3'
    then
        echo "fuzz: no atheris for this Python; the corpus and hypothesis are what runs, in make test-unit" >&2
        [ "$optional" = --optional ] && exit 0
        exit 1
    fi
fi
status=0
for corpus in tests/fuzz/corpus/*/; do
    target=$(basename "$corpus")
    echo "fuzzing $target for $seconds s"
    if ! PYTHONPATH=$packages "$python" tests/fuzz "$target" "$seconds" >".fuzz/$target.log" 2>&1; then
        tail -n 40 ".fuzz/$target.log"
        status=1
    fi
    grep -E 'number_of_executed_units|new_units_added' ".fuzz/$target.log" || true
done
exit $status
