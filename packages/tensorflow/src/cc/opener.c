// What Node cannot do by itself: open a shared library so that an addon loaded later finds its symbols (process.dlopen wants an
// addon), try whether a library can be opened, set an environment variable where C code looks (a worker's process.env is a copy),
// and hold back what libraries write to standard error.
#define NAPI_VERSION 8
#include <dlfcn.h>
#include <node_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX 4096

static int real_stderr = -1;
static FILE *captured = NULL;

static napi_value text(napi_env env, const char *value) {
  napi_value result;
  if (value)
    napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &result);
  else
    napi_get_null(env, &result);
  return result;
}

// The string arguments of a call; returns 0 (with an exception pending) where one is missing or too long.
static int strings(napi_env env, napi_callback_info info, size_t wanted, char (*out)[MAX]) {
  napi_value args[2];
  size_t count = 2;
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  for (size_t i = 0; i < wanted; i++) {
    size_t length = 0;
    if (i >= count || napi_get_value_string_utf8(env, args[i], NULL, 0, &length) != napi_ok || length >= MAX) {
      napi_throw_type_error(env, NULL, "opener: expected a string of fewer than 4096 bytes");
      return 0;
    }
    napi_get_value_string_utf8(env, args[i], out[i], MAX, &length);
  }
  return 1;
}

// open(path): null, or the loader's message. Its symbols are visible to all that is loaded from now on; it is never closed.
static napi_value open_library(napi_env env, napi_callback_info info) {
  char path[1][MAX];
  if (!strings(env, info, 1, path)) return NULL;
  return text(env, dlopen(path[0], RTLD_NOW | RTLD_GLOBAL) ? NULL : dlerror());
}

// tryOpen(name): null, or the loader's message. Changes nothing: what was not loaded before is closed again.
static napi_value try_open(napi_env env, napi_callback_info info) {
  char path[1][MAX];
  if (!strings(env, info, 1, path)) return NULL;
  void *library = dlopen(path[0], RTLD_LAZY | RTLD_LOCAL);
  if (!library) return text(env, dlerror());
  dlclose(library);
  return text(env, NULL);
}

// version(): TF_Version() of the TensorFlow that is open, or null.
static napi_value version(napi_env env, napi_callback_info info) {
  (void)info;
  const char *(*tf_version)(void) = (const char *(*)(void))dlsym(RTLD_DEFAULT, "TF_Version");
  return text(env, tf_version ? tf_version() : NULL);
}

// setEnvironment(name, value)
static napi_value set_environment(napi_env env, napi_callback_info info) {
  char pair[2][MAX];
  if (!strings(env, info, 2, pair)) return NULL;
  setenv(pair[0], pair[1], 1);
  return NULL;
}

// capture(): from now on what anything writes to standard error goes to a file that has no name.
static napi_value capture(napi_env env, napi_callback_info info) {
  (void)env, (void)info;
  if (captured || !(captured = tmpfile())) return NULL;
  fflush(stderr);
  real_stderr = dup(2);
  dup2(fileno(captured), 2);
  return NULL;
}

// release(): standard error is itself again; returns the last 16 KiB that were written meanwhile.
static napi_value release(napi_env env, napi_callback_info info) {
  (void)info;
  static char buffer[16385];
  if (!captured) return text(env, "");
  fflush(stderr);
  dup2(real_stderr, 2);
  close(real_stderr);
  fseek(captured, 0, SEEK_END);
  long size = ftell(captured);
  fseek(captured, size > 16384 ? size - 16384 : 0, SEEK_SET);
  buffer[fread(buffer, 1, 16384, captured)] = 0;
  fclose(captured);
  captured = NULL;
  return text(env, buffer);
}

static napi_value init(napi_env env, napi_value exports) {
  napi_property_descriptor functions[] = {
      {"open", NULL, open_library, NULL, NULL, NULL, napi_enumerable, NULL},
      {"tryOpen", NULL, try_open, NULL, NULL, NULL, napi_enumerable, NULL},
      {"version", NULL, version, NULL, NULL, NULL, napi_enumerable, NULL},
      {"setEnvironment", NULL, set_environment, NULL, NULL, NULL, napi_enumerable, NULL},
      {"capture", NULL, capture, NULL, NULL, NULL, napi_enumerable, NULL},
      {"release", NULL, release, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  napi_define_properties(env, exports, 6, functions);
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
