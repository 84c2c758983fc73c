"""Where numpy's arrays lie."""


cdef inline void *address(array) except NULL:
    return <void *><size_t>array.ctypes.data
