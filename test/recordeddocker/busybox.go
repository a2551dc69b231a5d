package recordeddocker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// busyboxPath is a statically linked busybox.
const busyboxPath = "/bin/busybox"

var busybox = sync.OnceValues(func() ([]byte, error) { return os.ReadFile(busyboxPath) })

// garbage is what a step sends as an archive that is none.
var garbage = []byte(strings.Repeat("this is no archive\n", 100))

// fixture is the docker archive of the image dd/busybox:1.
var fixture = sync.OnceValues(func() ([]byte, error) {
	list, err := exec.Command(busyboxPath, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("recordeddocker: the applets of busybox: %w", err)
	}
	applets := strings.Fields(string(list))
	slices.Sort(applets)
	entries := []Entry{{Name: "bin/"}, {Name: "bin/busybox", Fixture: "busybox"}}
	for _, a := range applets {
		if a != "busybox" {
			entries = append(entries, Entry{Name: "bin/" + a, Link: "busybox"})
		}
	}
	entries = append(entries,
		Entry{Name: "dev/"}, Entry{Name: "etc/"},
		Entry{Name: "etc/group", Content: "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nstaff:x:50:app\nnobody:x:65534:\n"},
		Entry{Name: "etc/passwd", Content: "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\napp:x:1000:50:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"},
		Entry{Name: "home/"}, Entry{Name: "home/app/", Owner: "1000:50"},
		Entry{Name: "proc/"}, Entry{Name: "root/", Mode: "700"}, Entry{Name: "sys/"}, Entry{Name: "tmp/", Mode: "1777"},
		Entry{Name: "var/"}, Entry{Name: "var/seed/"}, Entry{Name: "var/seed/one", Content: "one\n"},
		Entry{Name: "var/seed/two", Content: "two\n", Mode: "600", Owner: "1000:50"},
	)
	layer, err := archive(entries, nil)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(layer)
	config := `{"architecture":"amd64","os":"linux","created":"2020-09-13T12:26:40Z","author":"dockerdiff",` +
		`"config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["sh"],"Labels":{"dockerdiff":"busybox"}},` +
		`"rootfs":{"type":"layers","diff_ids":["sha256:` + hex.EncodeToString(sum[:]) + `"]},` +
		`"history":[{"created":"2020-09-13T12:26:40Z","created_by":"ADD busybox /","comment":"fixture"}]}`
	return archive([]Entry{
		{Name: "layer.tar", Content: string(layer)},
		{Name: "config.json", Content: config},
		{Name: "manifest.json", Content: `[{"Config":"config.json","RepoTags":["dd/busybox:1"],"Layers":["layer.tar"]}]`},
	}, nil)
})
