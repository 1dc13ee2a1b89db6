/* The binding includes this name; everything is declared in one place. */
#pragma once
#include "tensorflow/c/c_api.h"
