// SPDX-License-Identifier: Apache-2.0
/* Tells of allocations by the OpenTelemetry memory profiling contract, as it is told line by line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sdt.h>
#include <unistd.h>

static void say(const char *what)
{
	if (write(1, what, strlen(what)) < 0)
		_exit(1);
}

int main(void)
{
	static char line[256];
	size_t length = 0;

	say("ready\n");
	while (read(0, line + length, 1) == 1) {
		if (line[length] != '\n') {
			length = (length + 1) % (sizeof(line) - 1);
			continue;
		}
		line[length] = 0;
		length = 0;
		char *rest;
		uint64_t address = strtoul(line + 6, &rest, 10), size = strtoul(rest, &rest, 10), weighted = strtoul(rest, &rest, 10);

		if (!strncmp(line, "alloc ", 6))
			DTRACE_PROBE3(otel_memory, alloc, address, size, weighted);
		else
			DTRACE_PROBE1(otel_memory, free, address);
		say("done\n");
	}
	return 0;
}
