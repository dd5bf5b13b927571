#!/bin/sh
# pip inside an image build. What only the person who builds knows comes in without leaving a trace in the image:
#   secret build_ca    a CA bundle for package servers behind a private authority
#   secret pip_conf    a pip.conf (index, credentials)
#   /wheels            a folder of wheels, tried beside the index
#   $TORCH_INDEX       PyTorch's CPU index: without it PyPI's torch brings gigabytes of CUDA
set -eu
if [ -s /run/secrets/build_ca ]; then export PIP_CERT=/run/secrets/build_ca; fi
if [ -s /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi
if [ -n "${TORCH_INDEX:-}" ]; then export PIP_EXTRA_INDEX_URL="$TORCH_INDEX"; fi
if [ -d /wheels ]; then export PIP_FIND_LINKS=/wheels; fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_COMPILE=1
exec python3 -m pip "$@"
