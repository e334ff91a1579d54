/* The network of a slot: its own loopback and nothing else. A call that used it leaves sockets that wait for their time, and counters; so
 * the next call gets a new one. Whether it was used is read from the counters themselves: whatever passed the loopback is counted by its
 * interface, what found no way by its protocol. One look costs 16 us, a new network for every call would cost 260.
 * See guest/fallback.py for the same in Python. */
#include "guest.h"
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define COUNTERS 3
#define PIECE 4096

static int counters[COUNTERS] = {-1, -1, -1};
static uint64_t untouched;

/* All counters as a number that changes with any of them. A file that does not fill half a piece has been read to its end. */
static uint64_t look_at_counters(void)
{
	static uint64_t piece[PIECE / sizeof(uint64_t)];
	uint64_t sum = 14695981039346656037ULL;
	ssize_t size;

	for (unsigned i = 0; i < COUNTERS; i++)
		for (off_t at = 0; (size = pread(counters[i], piece, PIECE, at)) > 0; at += size) {
			memset((char *)piece + size, 0, -(size_t)size % sizeof *piece);
			for (size_t k = 0; k * sizeof *piece < (size_t)size; k++)
				sum = ((sum ^ piece[k]) * 1099511628211ULL) ^ sum >> 32;
			if (size < PIECE / 2)
				break;
		}
	return sum;
}

static int open_counters(void)
{
	static const char *const names[COUNTERS] = {"/proc/self/net/dev", "/proc/self/net/snmp", "/proc/self/net/snmp6"};

	for (unsigned i = 0; i < COUNTERS; i++) {
		if (counters[i] >= 0)
			close(counters[i]);
		counters[i] = open(names[i], O_RDONLY | O_CLOEXEC);
		if (counters[i] < 0 && errno != ENOENT) /* a kernel without IPv6 counts nothing of it */
			return -errno;
	}
	return 0;
}

/* A network of its own with its loopback up. */
int fresh_network(void)
{
	struct ifreq loopback = {.ifr_name = "lo"};
	int probe;

	TRY("unshare(net)", unshare(CLONE_NEWNET));
	TRY("socket", probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	TRY("loopback", ioctl(probe, SIOCGIFFLAGS, &loopback));
	loopback.ifr_flags |= IFF_UP;
	TRY("loopback", ioctl(probe, SIOCSIFFLAGS, &loopback));
	close(probe);
	TRY("counters", open_counters());
	untouched = look_at_counters();
	return 0;
}

int network_is_untouched(void)
{
	return look_at_counters() == untouched;
}

/* In the stem, between two calls. */
int renew_used_network(void)
{
	return network_is_untouched() ? 0 : fresh_network();
}
