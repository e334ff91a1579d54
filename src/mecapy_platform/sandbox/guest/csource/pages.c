/* The pages that every worker writes anyway, copied in one go. A page fault costs microseconds, some hundred are most of a call's cost;
 * the kernel copies a known range for a fraction of that. Which pages they are is seen once, in a rehearsal of a call by our own code. */
#include "guest.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define MAX_RANGES 2048
#define ENTRIES 512
#define PRESENT (1ULL << 63)
#define OF_A_FILE (1ULL << 61)
#define EXCLUSIVE (1ULL << 56)

struct range {
	uint64_t start, bytes;
};

static struct range known[MAX_RANGES];
static unsigned known_count;

/* In a fork of the zygote that has rehearsed a call: the ranges that are its own by now. Gives how many. */
VISIBLE int mecapy_pages_written(struct range *found, unsigned most)
{
	static uint64_t entries[ENTRIES];
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), start, end;
	unsigned count = 0;
	char line[512], rights[8];
	FILE *maps;
	int pagemap;

	TRY("open(pagemap)", pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	if ((maps = fopen("/proc/self/maps", "re")) == NULL)
		return -errno;
	while (fgets(line, sizeof line, maps) != NULL) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) != 3 || strcmp(rights, "rw-p") != 0)
			continue;
		for (uint64_t at = start; at < end; at += page * ENTRIES) {
			ssize_t size = pread(pagemap, entries, sizeof entries, (off_t)(at / page * sizeof *entries));

			for (unsigned i = 0; (ssize_t)(i * sizeof *entries) < size && at + i * page < end; i++) {
				if ((entries[i] & (PRESENT | EXCLUSIVE | OF_A_FILE)) != (PRESENT | EXCLUSIVE))
					continue;
				if (count > 0 && found[count - 1].start + found[count - 1].bytes == at + i * page)
					found[count - 1].bytes += page;
				else if (count < most)
					found[count++] = (struct range){at + i * page, page};
			}
		}
	}
	fclose(maps);
	close(pagemap);
	return (int)count;
}

/* In the zygote: what its workers shall have copied when they start. */
VISIBLE void mecapy_remember_pages(const struct range *ranges, unsigned count)
{
	known_count = count < MAX_RANGES ? count : MAX_RANGES;
	memcpy(known, ranges, known_count * sizeof *known);
}

void copy_known_pages(void)
{
	for (unsigned i = 0; i < known_count; i++)
		if (madvise((void *)(uintptr_t)known[i].start, known[i].bytes, MADV_POPULATE_WRITE) < 0 && errno == EINVAL)
			return; /* a kernel before 5.14: the pages come one by one */
}
