package local

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// crun compiles a container's seccomp profile for the kernel anew in each run,
// which is half of the processor time that a run takes. It leaves the program in
// the container's state directory for execs, and takes one that is given in this
// annotation in place of compiling (crun(1)).
const (
	filterAnnotation = "run.oci.seccomp_bpf_data"
	filterFile       = "seccomp.bpf"
	// maxFilters bounds what is remembered: profiles differ by what containers name
	// as theirs and by capabilities, which are few in practice.
	maxFilters = 64
	// filterUnit is the size of one instruction, maxFilter of BPF_MAXINSNS of them.
	filterUnit, maxFilter = 8, 4096 * filterUnit
)

// filters remembers compiled seccomp profiles by the profile's content.
type filters struct {
	mu   sync.Mutex
	data map[[sha256.Size]byte]string // as the annotation wants it
}

// give puts the compiled profile into the configuration, where it is known. It
// returns learn, to be called with the runtime's directory of the container when
// it runs; learn is nil where there is nothing to learn.
func (f *filters) give(r *ociRuntime, s *specs.Spec) (learn func(dir string)) {
	p := s.Linux.Seccomp
	if p == nil || !strings.HasPrefix(r.Version, "crun") || notifies(p) {
		return nil
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil
	}
	key := sha256.Sum256(b)
	f.mu.Lock()
	data, known := f.data[key]
	f.mu.Unlock()
	if known {
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[filterAnnotation] = data
		return nil
	}
	return func(dir string) {
		b, err := os.ReadFile(filepath.Join(dir, filterFile))
		if err != nil || len(b) == 0 || len(b)%filterUnit != 0 || len(b) > maxFilter {
			return // the next run compiles its own
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.data == nil || len(f.data) >= maxFilters {
			f.data = map[[sha256.Size]byte]string{}
		}
		f.data[key] = base64.StdEncoding.EncodeToString(b)
	}
}

// notifies tells that a process of the machine answers for the profile: what crun
// sets up for it belongs to one container.
func notifies(p *specs.LinuxSeccomp) bool {
	if p.ListenerPath != "" || p.DefaultAction == specs.ActNotify {
		return true
	}
	for i := range p.Syscalls {
		if p.Syscalls[i].Action == specs.ActNotify {
			return true
		}
	}
	return false
}
