package mount

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// option is what a word among mount options does to the flags.
type option struct {
	clear bool
	flag  uintptr
}

// words are the options of mount(8) that are flags of mount(2); all others are data
// for the filesystem.
var words = map[string]option{
	"defaults": {}, "async": {true, unix.MS_SYNCHRONOUS}, "sync": {false, unix.MS_SYNCHRONOUS},
	"atime": {true, unix.MS_NOATIME}, "noatime": {false, unix.MS_NOATIME},
	"diratime": {true, unix.MS_NODIRATIME}, "nodiratime": {false, unix.MS_NODIRATIME},
	"relatime": {false, unix.MS_RELATIME}, "norelatime": {true, unix.MS_RELATIME},
	"strictatime": {false, unix.MS_STRICTATIME}, "nostrictatime": {true, unix.MS_STRICTATIME},
	"dev": {true, unix.MS_NODEV}, "nodev": {false, unix.MS_NODEV},
	"exec": {true, unix.MS_NOEXEC}, "noexec": {false, unix.MS_NOEXEC},
	"suid": {true, unix.MS_NOSUID}, "nosuid": {false, unix.MS_NOSUID},
	"ro": {false, unix.MS_RDONLY}, "rw": {true, unix.MS_RDONLY},
	"mand": {false, unix.MS_MANDLOCK}, "nomand": {true, unix.MS_MANDLOCK},
	"dirsync": {false, unix.MS_DIRSYNC}, "remount": {false, unix.MS_REMOUNT},
	"bind": {false, unix.MS_BIND}, "rbind": {false, unix.MS_BIND | unix.MS_REC},
	"private": {false, unix.MS_PRIVATE}, "rprivate": {false, unix.MS_PRIVATE | unix.MS_REC},
	"shared": {false, unix.MS_SHARED}, "rshared": {false, unix.MS_SHARED | unix.MS_REC},
	"slave": {false, unix.MS_SLAVE}, "rslave": {false, unix.MS_SLAVE | unix.MS_REC},
	"unbindable": {false, unix.MS_UNBINDABLE}, "runbindable": {false, unix.MS_UNBINDABLE | unix.MS_REC},
}

// propagation are the flags that mount(2) wants in a call of their own.
const propagation = unix.MS_PRIVATE | unix.MS_SHARED | unix.MS_SLAVE | unix.MS_UNBINDABLE

// parse takes options as mount(8) writes them apart.
func parse(options string) (flags uintptr, data string) {
	var rest []string
	for _, word := range strings.Split(options, ",") {
		if word == "" {
			continue
		}
		o, ok := words[word]
		switch {
		case !ok:
			rest = append(rest, word)
		case o.clear:
			flags &^= o.flag
		default:
			flags |= o.flag
		}
	}
	return flags, strings.Join(rest, ",")
}

// Filesystem mounts source at target, with options as mount(8) takes them: "bind",
// "ro,size=1m". A bind mount gets its other flags in a second step, as the kernel
// wants it.
func Filesystem(source, target, kind, options string) error {
	flags, data := parse(options)
	first := flags &^ propagation
	if first&unix.MS_BIND == 0 || first&unix.MS_REMOUNT != 0 {
		if err := unix.Mount(source, target, kind, first, data); err != nil {
			return fmt.Errorf("mount %s at %s: %w", source, target, err)
		}
	} else if err := bind(source, target, first); err != nil {
		return err
	}
	if p := flags & propagation; p != 0 {
		if err := unix.Mount("", target, "", p|flags&unix.MS_REC, ""); err != nil {
			return fmt.Errorf("set the propagation of %s: %w", target, err)
		}
	}
	return nil
}

func bind(source, target string, flags uintptr) error {
	if err := unix.Mount(source, target, "", flags&(unix.MS_BIND|unix.MS_REC), ""); err != nil {
		return fmt.Errorf("bind %s at %s: %w", source, target, err)
	}
	if flags&^(unix.MS_BIND|unix.MS_REC) == 0 {
		return nil
	}
	if err := unix.Mount("", target, "", flags&^unix.MS_REC|unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s at %s: %w", source, target, unmounted(target, err))
	}
	return nil
}

// unmounted takes away what was mounted at target before err came, and returns
// both errors.
func unmounted(target string, err error) error {
	if undo := Unmount(target); undo != nil {
		return fmt.Errorf("%w; %w", err, undo)
	}
	return err
}
