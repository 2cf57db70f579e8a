#!/bin/sh
# What the image of Dockerfile.jetson starts: the assistant of /bundle, with the options given; or a program: mmedge check /bundle --target jetson
set -eu
case "${1--}" in
-*) ;;
*) exec "$@" ;;
esac
# Where the volume holds engines of this board, this TensorRT and these graphs, they are taken; else they are built, which takes minutes.
mmedge compile /bundle --target "$TARGET"
exec mmedge run /bundle --target "$TARGET" "$@"
