/*
 * Prints where CPython keeps what is read of it: "name offset", one a line, from the headers of the version that it is compiled
 * against. The numbers in tables.rs come from it, and a test compares them where the headers are installed.
 *
 *   cc -DPy_BUILD_CORE -I/usr/include/python3.11 -I/usr/include/python3.11/internal offsets.c
 */
#include <Python.h>
#include <stddef.h>
#include <stdio.h>

#include <internal/pycore_pystate.h>
#include <frameobject.h>
#if PY_VERSION_HEX >= 0x030b0000
#include <internal/pycore_frame.h>
#endif
#if PY_VERSION_HEX >= 0x03090000
#include <internal/pycore_runtime.h>
#include <internal/pycore_interp.h>
#endif

#define SHOW(name, type, field) printf("%s %zu\n", name, offsetof(type, field))

int main(void)
{
	SHOW("interpreters", _PyRuntimeState, interpreters.head);
	SHOW("interpreter_next", PyInterpreterState, next);
	SHOW("thread_next", PyThreadState, next);
	SHOW("thread_interpreter", PyThreadState, interp);
	SHOW("thread_id", PyThreadState, thread_id);
#if PY_VERSION_HEX < 0x030b0000
	SHOW("threads", PyInterpreterState, tstate_head);
#else
	SHOW("threads", PyInterpreterState, threads.head);
#endif
#if PY_VERSION_HEX < 0x030c0000
	SHOW("current", _PyRuntimeState, gilstate.tstate_current);
#else
	SHOW("main_interpreter", _PyRuntimeState, interpreters.main);
	SHOW("current", PyInterpreterState, _gil.last_holder);
#endif
#if PY_VERSION_HEX < 0x030b0000
	SHOW("frame", PyThreadState, frame);
	SHOW("caller", PyFrameObject, f_back);
	SHOW("code", PyFrameObject, f_code);
	SHOW("instruction", PyFrameObject, f_lasti);
#else
#if PY_VERSION_HEX < 0x030d0000
	SHOW("frame", PyThreadState, cframe);
	SHOW("current_frame", _PyCFrame, current_frame);
	SHOW("code", struct _PyInterpreterFrame, f_code);
	SHOW("instruction", struct _PyInterpreterFrame, prev_instr);
#else
	SHOW("frame", PyThreadState, current_frame);
	SHOW("code", struct _PyInterpreterFrame, f_executable);
	SHOW("instruction", struct _PyInterpreterFrame, instr_ptr);
#endif
	SHOW("caller", struct _PyInterpreterFrame, previous);
#if PY_VERSION_HEX < 0x030c0000
	SHOW("entry", struct _PyInterpreterFrame, is_entry);
#else
	SHOW("entry", struct _PyInterpreterFrame, owner);
#endif
#endif
	SHOW("file", PyCodeObject, co_filename);
	SHOW("name", PyCodeObject, co_name);
	SHOW("first_line", PyCodeObject, co_firstlineno);
#if PY_VERSION_HEX < 0x030a0000
	SHOW("lines", PyCodeObject, co_lnotab);
#else
	SHOW("lines", PyCodeObject, co_linetable);
#endif
#if PY_VERSION_HEX >= 0x030b0000
	SHOW("qualified_name", PyCodeObject, co_qualname);
	SHOW("instructions", PyCodeObject, co_code_adaptive);
#endif
	SHOW("type", PyObject, ob_type);
	SHOW("type_name", PyTypeObject, tp_name);
	SHOW("text_length", PyASCIIObject, length);
	SHOW("text_state", PyASCIIObject, state);
	printf("text_ascii %zu\n", sizeof(PyASCIIObject));
	printf("text_other %zu\n", sizeof(PyCompactUnicodeObject));
	SHOW("bytes_size", PyVarObject, ob_size);
	SHOW("bytes", PyBytesObject, ob_sval);
	return 0;
}
