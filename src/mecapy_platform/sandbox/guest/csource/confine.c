/* What confines a warm call: its mounts, the last locks. See guest/fallback.py for the same in Python. */
#include "guest.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define MOUNT_FLAGS (MS_NOSUID | MS_NODEV)
#define AT_FIRST "size=8m,nr_inodes=128,mode=0755" /* holds the largest inputs that come warm; each call has its own size later */

VISIBLE const char *mecapy_step = "";

static int set_capabilities(uint32_t kept)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{kept, kept, 0}, {0, 0, 0}};

	return (int)syscall(SYS_capset, &header, data);
}

/* In a stem, once: a network of its own. It keeps what a call's mounts and a new network need; each call gives all of that up. */
VISIBLE int mecapy_become_stem(void)
{
	int answer;

	TRY("parent death", prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
	if ((answer = fresh_network()) < 0)
		return answer;
	TRY("capabilities(ambient)", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	TRY("capabilities(set)", set_capabilities(1U << CAP_SYS_ADMIN | 1U << CAP_SETPCAP | 1U << CAP_NET_ADMIN));
	return 0;
}

static int show(const char *source, const char *target)
{
	return mount(source, target, NULL, MS_BIND, NULL);
}

/* Counters of the whole machine would tell when others work: each file of /etc/covers is read instead of its namesake in /proc. */
int cover_counters(void)
{
	DIR *covers = opendir("/etc/covers");
	struct dirent *entry;
	char source[300], target[300];
	int answer = 0;

	if (covers == NULL)
		return -1;
	while (answer == 0 && (entry = readdir(covers)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(source, sizeof source, "/etc/covers/%s", entry->d_name);
		snprintf(target, sizeof target, "/proc/%s", entry->d_name);
		answer = show(source, target);
	}
	closedir(covers);
	return answer;
}

/* In the worker, before its order: mounts and message queues of its own, a small workspace. Gives a descriptor of its top. */
int enter_workspace(void)
{
	static const char *const folders[] = {"/mnt/in", "/mnt/in/files", "/mnt/out", "/mnt/out/files", "/mnt/out/artifacts",
					      "/mnt/scratch", "/mnt/tmp", "/mnt/shm"};
	int top;

	umask(022);
	TRY("unshare(mount, ipc, cgroup)", unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWCGROUP));
	TRY("mount(workspace)", mount("tmpfs", "/mnt", "tmpfs", MOUNT_FLAGS, AT_FIRST));
	for (unsigned i = 0; i < sizeof folders / sizeof *folders; i++)
		TRY(folders[i], mkdir(folders[i], 0755));
	TRY("show(out)", show("/mnt/out", "/workspace/out"));
	TRY("show(scratch)", show("/mnt/scratch", "/workspace/scratch"));
	TRY("show(tmp)", show("/mnt/tmp", "/tmp"));
	TRY("show(shm)", show("/mnt/shm", "/dev/shm"));
	TRY("mount(proc)", mount("proc", "/proc", "proc", MOUNT_FLAGS | MS_NOEXEC, NULL));
	TRY("cover(proc)", cover_counters());
	TRY("open(workspace)", top = open("/mnt", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	return top;
}

/* As above, for a rehearsal in a fork of the zygote. */
VISIBLE int mecapy_enter_workspace(void)
{
	return enter_workspace();
}

VISIBLE int mecapy_hide(const char *target)
{
	TRY("hide", umount2(target, MNT_DETACH));
	return 0;
}

VISIBLE int mecapy_show(const char *source, const char *target)
{
	TRY("show", show(source, target));
	return 0;
}

struct ruleset {
	uint64_t files, network, scopes;
};

struct __attribute__((packed)) rule {
	uint64_t access;
	int32_t folder;
};

static int allow(int ruleset, const char *path, uint64_t access)
{
	struct rule rule = {access, open(path, O_PATH | O_CLOEXEC)};
	int answer;

	if (rule.folder < 0)
		return -1;
	answer = (int)syscall(SYS_landlock_add_rule, ruleset, 1, &rule, 0);
	close(rule.folder);
	return answer;
}

/* `files`, `read`, `write`: sets of rights; `scopes` 0 for a kernel without them, `files` 0 for one without Landlock. */
static int restrict_files(uint64_t files, uint64_t read, uint64_t write, uint64_t scopes)
{
	static const char *const writable[] = {"/workspace/out", "/workspace/scratch", "/tmp", "/dev"};
	struct ruleset wanted = {files, 0, scopes};
	size_t size = scopes ? sizeof wanted : sizeof wanted.files;
	int ruleset;

	if (files == 0)
		return 0;
	TRY("landlock(create)", ruleset = (int)syscall(SYS_landlock_create_ruleset, &wanted, size, 0));
	TRY("landlock(/)", allow(ruleset, "/", read));
	for (unsigned i = 0; i < sizeof writable / sizeof *writable; i++)
		TRY(writable[i], allow(ruleset, writable[i], write));
	TRY("landlock(restrict)", (int)syscall(SYS_landlock_restrict_self, ruleset, 0));
	close(ruleset);
	return 0;
}

static int drop_capabilities(void)
{
	TRY("capabilities(bounding)", prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0));
	TRY("capabilities(bounding)", prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0));
	TRY("capabilities(bounding)", prctl(PR_CAPBSET_DROP, CAP_SETPCAP, 0, 0, 0));
	TRY("capabilities(set)", set_capabilities(0));
	return 0;
}

/* In the worker, last: the size of its workspace, the code it runs, what it was given made read-only, and every lock. From here on no
 * capability is left and no mount can change. Descriptors from `first_closed` on are closed. */
VISIBLE int mecapy_seal(const char *workspace_options, const char *package, uint64_t files, uint64_t read, uint64_t write,
			uint64_t scopes, const void *filter, unsigned short instructions, unsigned first_closed)
{
	struct statvfs seen;
	struct sock_fprog program = {instructions, (struct sock_filter *)(uintptr_t)filter};
	int answer;

	TRY("remount(workspace)", mount(NULL, "/mnt", NULL, MS_REMOUNT | MOUNT_FLAGS, workspace_options));
	TRY("show(package)", show(package, "/package"));
	TRY("stat(package)", statvfs("/package", &seen));
	TRY("remount(package)",
	    mount(NULL, "/package", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MOUNT_FLAGS | (seen.f_flag & ST_NOEXEC), NULL));
	TRY("hide(packages)", umount2("/packages", MNT_DETACH));
	TRY("show(in)", show("/mnt/in", "/workspace/in"));
	TRY("remount(in)", mount(NULL, "/workspace/in", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MOUNT_FLAGS, NULL));
	TRY("hide(workspace)", umount2("/mnt", MNT_DETACH));
	TRY("chdir", chdir("/workspace/scratch"));
	if ((answer = restrict_files(files, read, write, scopes)) < 0)
		return answer;
	if ((answer = drop_capabilities()) < 0)
		return answer;
	TRY("close_range", (int)syscall(SYS_close_range, first_closed, ~0U, 0U));
	TRY("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	TRY("seccomp", (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
	return 0;
}
