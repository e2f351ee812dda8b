/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* For libbpf's usdt.bpf.h: the system's header is for the machine that compiles, and may not be there. */
#ifndef MLH_COMPAT_ERRNO_H
#define MLH_COMPAT_ERRNO_H

#define ENOENT 2
#define ESRCH 3
#define EEXIST 17
#define EINVAL 22

#endif
