// Package resident is the kernel room's part for the memory that the program itself
// takes: the pages of its file that are mapped because they were once touched.
package resident

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is a part of the address space that shows a file nobody can have changed:
// private, not writable, and without a page of its own.
type mapping struct{ start, end uintptr }

// Drop takes the pages of the program's own file out of this process's memory. They stay
// in the page cache; what is touched again is mapped again by a minor fault, sixteen
// pages at once. Worth a call where much has run that will not run again, such as the
// end of a start.
func Drop() error {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("the program's pages: %w", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("the program's pages: %w", err)
	}
	defer f.Close()
	found, err := unchanged(f, path)
	if err != nil {
		return fmt.Errorf("the program's pages: %w", err)
	}
	for _, m := range found {
		// Not Go memory: an address that the kernel told.
		if err := unix.Madvise(unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&m.start))), m.end-m.start), unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("the program's pages: madvise: %w", err)
		}
	}
	return nil
}

// unchanged reads proc_pid_smaps(5) for the mappings of path that may be dropped. One
// with an anonymous page (a relocation, a breakpoint) would lose it.
func unchanged(smaps io.Reader, path string) ([]mapping, error) {
	var found []mapping
	ours := false
	in := bufio.NewScanner(smaps)
	for in.Scan() {
		f := strings.Fields(in.Text())
		switch {
		case len(f) >= 3 && f[0] == "Anonymous:":
			if ours && f[1] != "0" {
				found = found[:len(found)-1]
			}
			ours = false
		case len(f) >= 5 && len(f[1]) == 4 && strings.Contains(f[0], "-"):
			ours = len(f) == 6 && f[5] == path && f[1][1] == '-' && f[1][3] == 'p'
			if !ours {
				continue
			}
			from, to, _ := strings.Cut(f[0], "-")
			start, errStart := strconv.ParseUint(from, 16, 64)
			end, errEnd := strconv.ParseUint(to, 16, 64)
			if err := errors.Join(errStart, errEnd); err != nil || end <= start {
				return nil, fmt.Errorf("smaps: %q: %w", f[0], err)
			}
			found = append(found, mapping{uintptr(start), uintptr(end)})
		}
	}
	return found, in.Err()
}
