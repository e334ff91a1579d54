/* What a call left in its workspace: made readable, read where it is small, removed where the next call gets the same workspace. */
#include "guest.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define MAX_DEPTH 20
#define NAMES_BYTES 4096
#define MAX_REMOVED 512
#define RUNNER_ERROR "_runner_error.json"
#define EMPTY_BYTES 40 /* of a folder of a tmpfs: two entries that are always there, 20 each */

struct entry { /* as the kernel writes it */
	uint64_t inode, offset;
	unsigned short bytes;
	unsigned char kind;
	char name[];
};

static int shares; /* the call is one of several of its worker: why it failed, and its progress, are usual too */

/* A name that every call leaves: what a reader would find is known without looking. */
static int is_usual(const char *folder, const struct entry *entry)
{
	if (shares && strcmp(folder, "out") == 0 && entry->kind == DT_REG &&
	    (strcmp(entry->name, RUNNER_ERROR) == 0 || strcmp(entry->name, "progress.jsonl") == 0))
		return 1;
	if (strcmp(folder, "out") == 0)
		return entry->kind == DT_DIR ? strcmp(entry->name, "files") == 0 || strcmp(entry->name, "artifacts") == 0
					     : strcmp(entry->name, "data.json") == 0;
	return strcmp(folder, "files") == 0 && entry->kind == DT_REG && strcmp(entry->name, "list.json") == 0;
}

/* Whether a folder of the workspace holds nothing, without reading it: in a tmpfs each entry adds to its folder's size. Where that were not
 * so, no folder would have the size of an empty one. */
static int is_empty(int parent, const char *name)
{
	struct stat seen;

	return fstatat(parent, name, &seen, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(seen.st_mode) && seen.st_nlink == 2 &&
	       seen.st_size == EMPTY_BYTES && (seen.st_mode & 0777) == 0755;
}

static unsigned open_folder(int parent, const char *name, int depth);

/* One entry of a folder: readable from now on, with all below it. Gives how many entries are not the usual ones. */
static unsigned open_entry(int folder, const char *folder_name, const struct entry *entry, int depth)
{
	struct stat seen;
	unsigned unusual = 0;

	if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
		return 0;
	if (depth > 1 || !is_usual(folder_name, entry))
		unusual++;
	if (entry->kind == DT_DIR && depth < MAX_DEPTH && !is_empty(folder, entry->name))
		unusual += open_folder(folder, entry->name, depth + 1);
	else if (entry->kind == DT_REG && fstatat(folder, entry->name, &seen, AT_SYMLINK_NOFOLLOW) == 0 && (seen.st_mode & 0444) != 0444)
		fchmodat(folder, entry->name, 0644, 0);
	return unusual;
}

/* Make what a run left readable to the worker's reader, following no link. Names are read into memory of ours and wiped there: the next
 * call of this slot is a fork of this process. Gives how many entries are not the usual ones. */
static unsigned open_folder(int parent, const char *name, int depth)
{
	static char names[MAX_DEPTH + 1][NAMES_BYTES] __attribute__((aligned(8)));
	char *mine = names[depth];
	int folder;
	unsigned unusual = 0;
	long size, most = 0;

	fchmodat(parent, name, 0755, 0);
	folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder < 0)
		return 1;
	while ((size = syscall(SYS_getdents64, folder, mine, NAMES_BYTES)) > 0) {
		for (long at = 0; at < size; at += ((const struct entry *)(mine + at))->bytes)
			unusual += open_entry(folder, name, (const struct entry *)(mine + at), depth);
		most = size > most ? size : most;
	}
	explicit_bzero(mine, (size_t)most);
	close(folder);
	return unusual;
}

unsigned open_outputs(int top)
{
	return open_folder(top, "out", 0);
}

unsigned open_shared_outputs(int top)
{
	unsigned unusual;

	shares = 1;
	unusual = open_folder(top, "out", 0);
	shares = 0;
	return unusual;
}

/* A small result, told beside the end: its bytes into `text`, how many, or -1 for one that the reader must look at itself. */
ssize_t read_result(int top, char *text, size_t most)
{
	return read_told(top, "out/data.json", text, most);
}

/* As above, of another name. */
ssize_t read_told(int top, const char *name, char *text, size_t most)
{
	int result = openat(top, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat seen;
	ssize_t size = -1;

	if (result < 0)
		return -1;
	if (fstat(result, &seen) == 0 && S_ISREG(seen.st_mode) && seen.st_nlink == 1 && (size_t)seen.st_size <= most &&
	    seen.st_blocks * 512 >= seen.st_size)
		size = read(result, text, most);
	close(result);
	return size;
}

/* Remove what lies in a folder, following no link. Gives 0, or -1 where something stays: more entries than `left` counts, or deeper. */
static int empty_folder(int parent, const char *name, int depth, int *left)
{
	char names[1024] __attribute__((aligned(8)));
	int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), answer = 0;
	long size;

	if (folder < 0)
		return -1;
	while (answer == 0 && (size = syscall(SYS_getdents64, folder, names, sizeof names)) > 0)
		for (long at = 0; answer == 0 && at < size; at += ((const struct entry *)(names + at))->bytes) {
			const struct entry *entry = (const struct entry *)(names + at);
			int is_folder = entry->kind == DT_DIR;

			if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
				continue;
			if (--*left < 0 || depth > MAX_DEPTH || (is_folder && empty_folder(folder, entry->name, depth + 1, left) < 0) ||
			    unlinkat(folder, entry->name, is_folder ? AT_REMOVEDIR : 0) < 0)
				answer = -1;
		}
	explicit_bzero(names, sizeof names);
	close(folder);
	return answer;
}

/* Empty what a call could write; the folders themselves stay, as every call finds them. */
int empty_workspace(int top)
{
	static const char *const writable[] = {"scratch", "tmp", "shm"};
	int left = MAX_REMOVED;

	for (unsigned i = 0; i < sizeof writable / sizeof *writable; i++)
		if (!is_empty(top, writable[i]) && empty_folder(top, writable[i], 0, &left) < 0)
			return -1;
	return unlinkat(top, "out/data.json", 0) < 0 || unlinkat(top, "out/files/list.json", 0) < 0 ? -1 : 0;
}

static const char *const folders[] = {"out", "out/files", "out/artifacts", "scratch", "tmp", "shm"};

/* Empty what a call of several could write, whether it gave a result or failed. Gives 0, or -1 where something stays. */
int empty_shared_workspace(int top)
{
	static const char *const left_behind[] = {"out/data.json", "out/files/list.json", "out/" RUNNER_ERROR, "out/progress.jsonl"};
	static const char *const writable[] = {"scratch", "tmp", "shm"};
	int left = MAX_REMOVED;

	for (unsigned i = 0; i < sizeof writable / sizeof *writable; i++)
		if (!is_empty(top, writable[i]) && empty_folder(top, writable[i], 0, &left) < 0)
			return -1;
	for (unsigned i = 0; i < sizeof left_behind / sizeof *left_behind; i++)
		if (unlinkat(top, left_behind[i], 0) < 0 && errno != ENOENT)
			return -1;
	return workspace_is_new(top) ? 0 : -1;
}

/* Whether the workspace is as a new worker finds it: nothing in it, no attribute of a folder, no time that tells of an earlier call. */
int workspace_is_new(int top)
{
	static const struct timespec long_ago[2] = {{0, 0}, {0, 0}};
	struct stat seen;

	for (unsigned i = 0; i < sizeof folders / sizeof *folders; i++) {
		int folder = openat(top, folders[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), is_new;

		if (folder < 0)
			return 0;
		is_new = fstat(folder, &seen) == 0 && (seen.st_mode & 07777) == 0755 && flistxattr(folder, NULL, 0) <= 0 &&
			 seen.st_size == (i == 0 ? EMPTY_BYTES * 2 : EMPTY_BYTES) && futimens(folder, long_ago) == 0;
		close(folder);
		if (!is_new)
			return 0;
	}
	return 1;
}
