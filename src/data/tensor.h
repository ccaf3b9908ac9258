// This header brings tensors and autograd without the modules, optimizers and data loaders of
// torch/torch.h, which halves the compile time of a file. It is the precompiled header of all torch
// layers.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>
