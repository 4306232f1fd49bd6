#include "bindings/dlpack.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "bindings/gil.h"

namespace py = pybind11;

namespace native::cuda {
namespace {

// As the protocol lays them out.
struct DLDevice {
  int32_t type, id;
};
struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;  // null: one after another
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor tensor;
  void* owner;
  void (*deleter)(DLManagedTensor*);
};
struct DLManagedTensorVersioned {
  uint32_t major, minor;
  void* owner;
  void (*deleter)(DLManagedTensorVersioned*);
  uint64_t flags;
  DLTensor tensor;
};
constexpr uint64_t kReadOnly = 1, kCopied = 2;

template <class Managed>
constexpr const char* kName = "dltensor";
template <>
constexpr const char* kName<DLManagedTensorVersioned> = "dltensor_versioned";

// What a capsule of ours points to: the protocol's struct, and what that refers to.
template <class Managed>
struct Exported {
  Managed managed{};
  std::vector<int64_t> shape;
  PyObject* owner;
};

template <class Managed>
void release(Managed* managed) {
  std::unique_ptr<Exported<Managed>> whole(static_cast<Exported<Managed>*>(managed->owner));
  if (!Py_IsInitialized()) return;
  native::bindings::gil::Hold held;
  Py_DECREF(whole->owner);
}

// A capsule whose name is still this was not taken by anybody.
template <class Managed>
void drop(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, kName<Managed>)) return;
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, kName<Managed>));
  managed->deleter(managed);
}

template <class Managed>
py::object exported(uintptr_t address, std::vector<int64_t> shape, int code, int bits, py::object owner, bool copied) {
  auto whole = std::make_unique<Exported<Managed>>();
  whole->shape = std::move(shape);
  whole->owner = owner.release().ptr();
  Managed& managed = whole->managed;
  constexpr int32_t kCuda = 2;
  managed.tensor = {reinterpret_cast<void*>(address),
                    {kCuda, 0},
                    static_cast<int32_t>(whole->shape.size()),
                    {static_cast<uint8_t>(code), static_cast<uint8_t>(bits), 1},
                    whole->shape.data(),
                    nullptr,
                    0};
  managed.owner = whole.get();
  managed.deleter = &release<Managed>;
  if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) {
    managed.major = 1;
    managed.flags = copied ? kCopied : kReadOnly;
  }
  PyObject* capsule = PyCapsule_New(&managed, kName<Managed>, &drop<Managed>);
  if (!capsule) throw py::error_already_set();
  whole.release();
  return py::reinterpret_steal<py::object>(capsule);
}

// What a capsule of somebody else's says; it stays theirs, and its memory lives as long as it does.
py::dict described(const py::capsule& capsule) {
  const DLTensor* tensor = nullptr;
  if (PyCapsule_IsValid(capsule.ptr(), kName<DLManagedTensorVersioned>)) {
    const auto* managed = capsule.get_pointer<DLManagedTensorVersioned>();
    if (managed->major != 1)
      throw py::value_error("DLPack of version " + std::to_string(managed->major) + " is not known");
    tensor = &managed->tensor;
  } else if (PyCapsule_IsValid(capsule.ptr(), kName<DLManagedTensor>)) {
    tensor = &capsule.get_pointer<DLManagedTensor>()->tensor;
  } else {
    throw py::value_error("this is no capsule of DLPack's, or it was used before");
  }
  py::object strides = py::none();
  if (tensor->strides) strides = py::cast(std::vector<int64_t>(tensor->strides, tensor->strides + tensor->ndim));
  return py::dict(py::arg("address") = reinterpret_cast<uintptr_t>(tensor->data) + tensor->byte_offset,
                  py::arg("device") = py::make_tuple(tensor->device.type, tensor->device.id),
                  py::arg("shape") = std::vector<int64_t>(tensor->shape, tensor->shape + tensor->ndim),
                  py::arg("strides") = strides, py::arg("code") = tensor->dtype.code,
                  py::arg("bits") = tensor->dtype.bits, py::arg("lanes") = tensor->dtype.lanes);
}

}  // namespace

void bind_dlpack(py::module_& m) {
  m.def(
      "to_dlpack",
      [](uintptr_t address, std::vector<int64_t> shape, int code, int bits, py::object owner, bool versioned,
         bool copied) {
        return versioned
                   ? exported<DLManagedTensorVersioned>(address, std::move(shape), code, bits, std::move(owner), copied)
                   : exported<DLManagedTensor>(address, std::move(shape), code, bits, std::move(owner), copied);
      },
      py::arg("address"), py::arg("shape"), py::arg("code"), py::arg("bits"), py::arg("owner"), py::arg("versioned"),
      py::arg("copied"),
      "A capsule for memory of gpu:0 that lives as long as its owner; read-only where the version can say so, unless "
      "it was copied.");
  m.def("describe_dlpack", &described, py::arg("capsule"), "What a capsule holds. It is not taken.");
}

}  // namespace native::cuda
