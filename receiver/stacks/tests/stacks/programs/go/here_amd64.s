#include "textflag.h"

// func here() (ip, sp, bp uintptr)
TEXT ·here(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ 0(SP), AX
	MOVQ AX, ip+0(FP)
	LEAQ 8(SP), AX
	MOVQ AX, sp+8(FP)
	MOVQ BP, bp+16(FP)
	RET
