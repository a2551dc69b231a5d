// Package volumes is the area of volumes of the Docker Engine API, and the store of
// Docker's local volumes that containers use. A volume is a directory below Root:
// meta.json says what it is, and exists exactly as long as the volume does; _data is
// what containers see. A volume whose options tell what to mount has that mounted on
// _data while a container runs with it.
//
// The store is the one writer of everything below Root but the content of _data.
// Who uses a volume is not written down: those who hold volumes say so again when
// they begin (Hold, Mount).
package volumes

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/volume"

	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/route"
	"skiff.dev/skiff/engine/wholefile"
)

// Driver is the name of the one driver there is.
const Driver = "local"

// AnonymousLabel marks volumes that were made without a name.
const AnonymousLabel = "com.docker.volume.anonymous"

const (
	metaFile = "meta.json"
	dataDir  = "_data"
	// going begins the name of a directory that is being removed; no volume's name
	// begins so.
	going = ".removed-"
)

// Errors of a closed set, with Docker's words and kinds.
var (
	ErrNotFound = route.NotFound(errors.New("no such volume"))
	ErrInUse    = route.Conflict(errors.New("volume is in use"))
)

// Mounter mounts what a volume's options name; kernel/mount does.
type Mounter interface {
	Mount(source, target, kind, options string) error
	Unmount(target string) error
	IsMount(target string) (bool, error)
}

// Options of Open.
type Options struct {
	Root   string  // holds the volumes; it is made
	Mounts Mounter // nil is kernel/mount
	Events *event.Hub
	Log    *slog.Logger
}

// Spec is what a volume is asked to be. Without a name it gets one of its own and
// AnonymousLabel.
type Spec struct {
	Name, Driver    string
	Options, Labels map[string]string
}

// meta is meta.json.
type meta struct {
	Name      string            `json:"name"`
	CreatedAt time.Time         `json:"createdAt"`
	Labels    map[string]string `json:"labels"`
	Options   map[string]string `json:"options"`
}

// entry is a volume in memory. refs are those who have it in their configuration,
// mounts those who run with it; Store.mu guards both. Who mounts, unmounts or
// removes holds busy, which is taken before Store.mu: a mount may take long.
type entry struct {
	busy sync.Mutex
	meta
	refs, mounts map[string]bool
}

// Store is safe for concurrent use.
type Store struct {
	o Options

	mu      sync.Mutex
	volumes map[string]*entry
	pruning bool
}

// Open reads what is below Root. What was half made or half removed goes.
func Open(o Options) (*Store, error) {
	s := &Store{o: o, volumes: map[string]*entry{}}
	if err := os.MkdirAll(o.Root, 0o711); err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	if o.Mounts == nil {
		s.o.Mounts = kernel{}
	}
	// As the kernel lists mounts: without symbolic links.
	root, err := filepath.EvalSymlinks(o.Root)
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	s.o.Root = root
	dirs, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	for _, d := range dirs {
		dir := filepath.Join(root, d.Name())
		m := meta{}
		b, err := os.ReadFile(filepath.Join(dir, metaFile))
		if errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(d.Name(), going) {
			if err := s.clear(dir); err != nil {
				return nil, err
			}
			continue
		}
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		if err == nil && m.Name != d.Name() {
			err = fmt.Errorf("it is the volume %q", m.Name)
		}
		if err != nil {
			// Somebody's data is in it: it is left alone.
			o.Log.Error("a volume cannot be read", "directory", dir, "err", err)
			continue
		}
		s.volumes[m.Name] = newEntry(m)
	}
	return s, nil
}

func newEntry(m meta) *entry {
	return &entry{meta: m, refs: map[string]bool{}, mounts: map[string]bool{}}
}

// take finds a volume and makes it busy; the caller ends that. It returns nil where
// there is none.
func (s *Store) take(name string) *entry {
	for {
		s.mu.Lock()
		e := s.volumes[name]
		s.mu.Unlock()
		if e == nil {
			return nil
		}
		e.busy.Lock()
		s.mu.Lock()
		same := s.volumes[name] == e
		s.mu.Unlock()
		if same {
			return e
		}
		e.busy.Unlock() // removed meanwhile
	}
}

func random(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) //nolint:errcheck // it never fails
	return hex.EncodeToString(b)
}

// opError tells what was done to which volume, as Docker words it.
func opError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, name, err)
}

// Create makes a volume, or returns the one of that name as it is. A ref that is
// not empty holds it, as Hold does.
func (s *Store) Create(_ context.Context, spec Spec, ref string) (*volume.Volume, error) {
	if spec.Name == "" {
		spec.Name = random(32)
		spec.Labels = maps.Clone(spec.Labels)
		if spec.Labels == nil {
			spec.Labels = map[string]string{}
		}
		spec.Labels[AnonymousLabel] = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if spec.Driver != "" && spec.Driver != Driver {
		return nil, opError("create", spec.Name, route.NotFoundf("error looking up volume plugin %[1]s: plugin %[1]q not found", spec.Driver))
	}
	e := s.volumes[spec.Name]
	if e == nil {
		if err := checkName(spec.Name); err != nil {
			return nil, opError("create", spec.Name, err)
		}
		if err := checkOptions(spec.Options); err != nil {
			return nil, opError("create", spec.Name, err)
		}
		e = newEntry(meta{spec.Name, time.Now(), spec.Labels, spec.Options})
		if err := s.write(&e.meta); err != nil {
			return nil, opError("create", spec.Name, err)
		}
		s.volumes[spec.Name] = e
		s.tell(events.ActionCreate, spec.Name, map[string]string{"driver": Driver})
	}
	if ref != "" {
		e.refs[ref] = true
	}
	return s.show(e), nil
}

// write makes the directory of a volume; it is one when meta.json is on the disk.
func (s *Store) write(m *meta) (err error) {
	dir := s.dir(m.Name)
	if err := os.MkdirAll(filepath.Join(dir, dataDir), 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	// Not narrowed by a mask: containers' users are to pass.
	if err := os.Chmod(filepath.Join(dir, dataDir), 0o755); err != nil {
		return err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := wholefile.Keep(filepath.Join(dir, metaFile), b, 0o600); err != nil {
		return err
	}
	return wholefile.SyncDir(s.o.Root)
}

func (s *Store) dir(name string) string { return filepath.Join(s.o.Root, name) }

func (s *Store) data(name string) string { return filepath.Join(s.o.Root, name, dataDir) }

// show is a volume as the API has it. s.mu is held.
func (s *Store) show(e *entry) *volume.Volume {
	return &volume.Volume{
		Name: e.Name, Driver: Driver, Scope: "local", Mountpoint: s.data(e.Name),
		CreatedAt: e.CreatedAt.Format(time.RFC3339), Labels: e.Labels, Options: e.meta.Options,
	}
}

func (s *Store) tell(action events.Action, name string, attributes map[string]string) {
	if s.o.Events != nil {
		s.o.Events.Publish(events.VolumeEventType, action, name, attributes)
	}
}

// Get finds a volume.
func (s *Store) Get(name string) (*volume.Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.volumes[name]
	if e == nil {
		return nil, opError("get", name, ErrNotFound)
	}
	return s.show(e), nil
}

// found is a volume as List finds it.
type found struct {
	*volume.Volume
	used bool
	refs int
}

// list is all volumes that want takes, by name.
func (s *Store) list(want func(found) bool) []found {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []found{}
	for _, e := range s.volumes {
		if f := (found{s.show(e), len(e.refs) > 0, len(e.refs)}); want(f) {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b found) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Remove takes a volume away with its data. One that somebody holds is ErrInUse,
// one that is not there ErrNotFound.
func (s *Store) Remove(_ context.Context, name string) error {
	e := s.take(name)
	if e == nil {
		return opError("get", name, ErrNotFound)
	}
	defer e.busy.Unlock()
	gone, err := s.detach(e)
	if err == nil {
		err = errors.Join(wholefile.SyncDir(s.o.Root), s.clear(gone))
	}
	return opError("remove", name, err)
}

// detach makes a volume that nobody uses none, also after a crash, and returns what
// is left of it.
func (s *Store) detach(e *entry) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(e.refs) > 0 {
		refs := slices.Sorted(maps.Keys(e.refs))
		return "", fmt.Errorf("%w - [%s]", ErrInUse, strings.Join(refs, ", "))
	}
	if len(e.mounts) > 0 {
		return "", errors.New("volume has active mounts")
	}
	if err := s.unmount(e); err != nil {
		return "", err
	}
	// Another volume of the name may be made and removed before this one's data is gone.
	gone := filepath.Join(s.o.Root, going+random(8))
	if err := os.Rename(s.dir(e.Name), gone); err != nil {
		return "", err
	}
	delete(s.volumes, e.Name)
	s.tell(events.ActionDestroy, e.Name, map[string]string{"driver": Driver})
	return gone, nil
}

// clear removes the directory of what is no volume; nothing may be mounted in it.
func (s *Store) clear(dir string) error {
	if st, err := os.Lstat(dir); err == nil && st.IsDir() {
		mounted, err := s.o.Mounts.IsMount(filepath.Join(dir, dataDir))
		if err == nil && mounted {
			err = s.o.Mounts.Unmount(filepath.Join(dir, dataDir))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("volumes: %w", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	return nil
}
