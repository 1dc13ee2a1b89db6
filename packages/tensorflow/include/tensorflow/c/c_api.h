/* What tfjs-node's binding calls of TensorFlow's C interface: 55 functions and the constants that go with them, declared here so
   that the binding compiles where TensorFlow comes without headers, or is not there yet. Names, numbers and layouts are those of
   TensorFlow 2.10 to 2.23; the functions themselves come from the libraries that are opened at run time. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Element types, as tensors on the wire have them. */
typedef enum TF_DataType {
  TF_FLOAT = 1,
  TF_DOUBLE = 2,
  TF_INT32 = 3,
  TF_UINT8 = 4,
  TF_INT16 = 5,
  TF_INT8 = 6,
  TF_STRING = 7,
  TF_COMPLEX64 = 8,
  TF_INT64 = 9,
  TF_BOOL = 10,
  TF_BFLOAT16 = 14,
  TF_HALF = 19,
  TF_RESOURCE = 20
} TF_DataType;
typedef enum TF_AttrType {
  TF_ATTR_STRING = 0,
  TF_ATTR_INT = 1,
  TF_ATTR_FLOAT = 2,
  TF_ATTR_BOOL = 3,
  TF_ATTR_TYPE = 4,
  TF_ATTR_SHAPE = 5,
  TF_ATTR_TENSOR = 6
} TF_AttrType;
typedef enum TF_Code { TF_OK = 0, TF_UNKNOWN = 2, TF_INVALID_ARGUMENT = 3 } TF_Code;

/* Seen through pointers alone. */
typedef struct TF_Status TF_Status;
typedef struct TF_Tensor TF_Tensor;
typedef struct TF_Graph TF_Graph;
typedef struct TF_Operation TF_Operation;
typedef struct TF_Session TF_Session;
typedef struct TF_SessionOptions TF_SessionOptions;
typedef struct TF_DeviceList TF_DeviceList;
typedef struct TFE_Context TFE_Context;
typedef struct TFE_ContextOptions TFE_ContextOptions;
typedef struct TFE_Op TFE_Op;
typedef struct TFE_TensorHandle TFE_TensorHandle;

typedef struct TF_Buffer {
  const void* data;
  size_t length;
  void (*data_deallocator)(void* data, size_t length);
} TF_Buffer;
typedef struct TF_Output {
  TF_Operation* oper;
  int index;
} TF_Output;
/* An element of a string tensor; what is in it is the library's affair. */
typedef struct TF_TString {
  uint64_t opaque[3];
} TF_TString;

const char* TF_Version(void);
size_t TF_DataTypeSize(TF_DataType type);

TF_Status* TF_NewStatus(void);
void TF_DeleteStatus(TF_Status* status);
TF_Code TF_GetCode(const TF_Status* status);
const char* TF_Message(const TF_Status* status);

TF_Tensor* TF_NewTensor(TF_DataType type, const int64_t* dims, int rank, void* data, size_t bytes,
                        void (*free_data)(void* data, size_t bytes, void* argument), void* argument);
TF_Tensor* TF_AllocateTensor(TF_DataType type, const int64_t* dims, int rank, size_t bytes);
void TF_DeleteTensor(TF_Tensor* tensor);
TF_DataType TF_TensorType(const TF_Tensor* tensor);
int TF_NumDims(const TF_Tensor* tensor);
int64_t TF_Dim(const TF_Tensor* tensor, int axis);
size_t TF_TensorByteSize(const TF_Tensor* tensor);
void* TF_TensorData(const TF_Tensor* tensor);
int64_t TF_TensorElementCount(const TF_Tensor* tensor);

void TF_StringInit(TF_TString* string);
void TF_StringCopy(TF_TString* to, const char* from, size_t bytes);
void TF_StringDealloc(TF_TString* string);
const char* TF_StringGetDataPointer(const TF_TString* string);
size_t TF_StringGetSize(const TF_TString* string);
/* The binding uses the names of the inline functions behind these. */
#define TF_TString_Init TF_StringInit
#define TF_TString_Copy TF_StringCopy
#define TF_TString_Dealloc TF_StringDealloc
#define TF_TString_GetDataPointer TF_StringGetDataPointer
#define TF_TString_GetSize TF_StringGetSize

TF_Buffer* TF_NewBuffer(void);
TF_Buffer* TF_NewBufferFromString(const void* data, size_t bytes);
void TF_DeleteBuffer(TF_Buffer* buffer);

TF_Graph* TF_NewGraph(void);
void TF_DeleteGraph(TF_Graph* graph);
TF_Operation* TF_GraphOperationByName(TF_Graph* graph, const char* name);
TF_SessionOptions* TF_NewSessionOptions(void);
void TF_DeleteSessionOptions(TF_SessionOptions* options);
TF_Session* TF_LoadSessionFromSavedModel(const TF_SessionOptions* options, const TF_Buffer* run_options, const char* folder,
                                         const char* const* tags, int tag_count, TF_Graph* graph, TF_Buffer* meta_graph,
                                         TF_Status* status);
void TF_SessionRun(TF_Session* session, const TF_Buffer* run_options, const TF_Output* inputs, TF_Tensor* const* input_values,
                   int input_count, const TF_Output* outputs, TF_Tensor** output_values, int output_count,
                   const TF_Operation* const* targets, int target_count, TF_Buffer* run_metadata, TF_Status* status);
void TF_DeleteSession(TF_Session* session, TF_Status* status);

int TF_DeviceListCount(const TF_DeviceList* devices);
const char* TF_DeviceListName(const TF_DeviceList* devices, int index, TF_Status* status);
const char* TF_DeviceListType(const TF_DeviceList* devices, int index, TF_Status* status);
void TF_DeleteDeviceList(TF_DeviceList* devices);

TFE_ContextOptions* TFE_NewContextOptions(void);
void TFE_DeleteContextOptions(TFE_ContextOptions* options);
TFE_Context* TFE_NewContext(const TFE_ContextOptions* options, TF_Status* status);
void TFE_DeleteContext(TFE_Context* context);
TF_DeviceList* TFE_ContextListDevices(TFE_Context* context, TF_Status* status);

TFE_TensorHandle* TFE_NewTensorHandle(const TF_Tensor* tensor, TF_Status* status);
void TFE_DeleteTensorHandle(TFE_TensorHandle* handle);
TF_DataType TFE_TensorHandleDataType(TFE_TensorHandle* handle);
int TFE_TensorHandleNumDims(TFE_TensorHandle* handle, TF_Status* status);
int64_t TFE_TensorHandleDim(TFE_TensorHandle* handle, int axis, TF_Status* status);
TF_Tensor* TFE_TensorHandleResolve(TFE_TensorHandle* handle, TF_Status* status);
TFE_TensorHandle* TFE_TensorHandleCopyToDevice(TFE_TensorHandle* handle, TFE_Context* context, const char* device, TF_Status* status);

TFE_Op* TFE_NewOp(TFE_Context* context, const char* name, TF_Status* status);
void TFE_DeleteOp(TFE_Op* op);
void TFE_OpAddInput(TFE_Op* op, TFE_TensorHandle* input, TF_Status* status);
void TFE_OpSetAttrString(TFE_Op* op, const char* attribute, const void* value, size_t bytes);
void TFE_OpSetAttrInt(TFE_Op* op, const char* attribute, int64_t value);
void TFE_OpSetAttrFloat(TFE_Op* op, const char* attribute, float value);
void TFE_OpSetAttrBool(TFE_Op* op, const char* attribute, unsigned char value);
void TFE_OpSetAttrType(TFE_Op* op, const char* attribute, TF_DataType value);
void TFE_OpSetAttrShape(TFE_Op* op, const char* attribute, const int64_t* dims, int rank, TF_Status* status);
void TFE_OpSetAttrIntList(TFE_Op* op, const char* attribute, const int64_t* values, int count);
void TFE_OpSetAttrFloatList(TFE_Op* op, const char* attribute, const float* values, int count);
void TFE_OpSetAttrBoolList(TFE_Op* op, const char* attribute, const unsigned char* values, int count);
void TFE_Execute(TFE_Op* op, TFE_TensorHandle** results, int* result_count, TF_Status* status);

#ifdef __cplusplus
}
#endif
