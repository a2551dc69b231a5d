package platform

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"skiff.dev/skiff/auth/pki"
	"skiff.dev/skiff/cli"
)

// logFile is where a detached process logs, in the data directory.
const logFile = "skiff.log"

// directories are the two that a process holds, and how they were before it.
type directories struct {
	cfg   *Config
	locks []*os.File
	// made are the directories that did not exist, the outermost first.
	made []string
	// fresh are those of the two that had nothing of an earlier start in them.
	fresh  []string
	config []byte // of the last start, nil if there is none
}

// takeDirectories makes both directories and takes them for this process alone
// until release.
func takeDirectories(c *Config) (_ *directories, err error) {
	d := &directories{cfg: c}
	defer func() {
		if err != nil {
			d.discard()
			d.release()
		}
	}()
	for _, v := range []struct{ dir, flag, name string }{{c.Data, "data-dir", "data"}, {c.Run, "run-dir", "run"}} {
		made, err := makeDirs(v.dir)
		d.made = append(d.made, made...)
		if err != nil {
			return nil, &Fault{What: fmt.Sprintf("cannot make the %s directory: %v", v.name, err), Do: "choose another with --" + v.flag, Err: err}
		}
		fresh, err := isFresh(v.dir)
		if err != nil {
			return nil, &Fault{What: fmt.Sprintf("cannot read the %s directory: %v", v.name, err), Do: "choose another with --" + v.flag, Err: err}
		}
		lock, err := cli.Lock(v.dir)
		var held *cli.HeldError
		if errors.As(err, &held) {
			return nil, &Fault{
				What: fmt.Sprintf("skiff is already running: the %s directory %s is in use by process %d", v.name, v.dir, held.PID),
				Do:   fmt.Sprintf("stop that one with: skiff down --%s %s, or choose another with --%s", v.flag, v.dir, v.flag),
				Err:  err,
			}
		}
		if err != nil {
			return nil, fmt.Errorf("take the %s directory: %w", v.name, err)
		}
		d.locks = append(d.locks, lock)
		if fresh {
			d.fresh = append(d.fresh, v.dir)
		}
	}
	raw, err := os.ReadFile(filepath.Join(c.Data, configFile))
	if err == nil {
		d.config = raw
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return d, nil
}

// makeDirs makes dir, for root alone, and what is missing above it, and returns
// what was missing, the outermost first.
func makeDirs(dir string) (made []string, err error) {
	for at := dir; !exists(at); at = filepath.Dir(at) {
		made = append([]string{at}, made...)
	}
	return made, os.MkdirAll(dir, 0o700)
}

// isFresh tells whether dir has nothing of an earlier start in it: a lock and a log
// are those of this one.
func isFresh(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if e.Name() != "lock" && e.Name() != logFile {
			return false, nil
		}
	}
	return true, nil
}

// discard takes away what a start that failed has made, while the locks are held.
// Nothing may be running any more. The log goes with who started the process.
func (d *directories) discard() {
	for _, dir := range d.fresh {
		_ = unmountBelow(dir)
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.Name() != logFile {
				_ = os.RemoveAll(filepath.Join(dir, e.Name()))
			}
		}
		if dir == d.cfg.Data {
			_ = releaseRanges(dir)
		}
	}
	for i := len(d.made) - 1; i >= 0; i-- {
		_ = os.Remove(d.made[i]) // stays if something else is in it
	}
	if d.config != nil {
		_ = pki.WriteFile(filepath.Join(d.cfg.Data, configFile), d.config)
	}
}

// release lets others have the directories.
func (d *directories) release() {
	for _, l := range d.locks {
		l.Close()
	}
}
