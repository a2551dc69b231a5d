package flow

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata give into them")

// TestScripts plays testdata: each line that does not begin with ">" or "#" is
// a step at the time it names, the lines with ">" below are what it leads to.
//
//	1ms level queues=4 hand=2 length=2 limit=3   (once; also: unlimited)
//	2ms arrive NAME flow=F seats=N final=N extra=D
//	3ms finish NAME | cancel NAME | release NAME
//	4ms limit N
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(raw))
			if *rewrite {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(raw) {
				t.Errorf("%s gives\n%s", f, got)
			}
		})
	}
}

func play(t *testing.T, script string) string {
	t.Helper()
	var out strings.Builder
	var level *Level
	var queuing Queuing
	tickets := map[string]*Ticket{}
	for _, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&out, line)
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		now, err := time.ParseDuration(words[0])
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		arg := map[string]string{}
		for _, w := range words[2:] {
			k, v, _ := strings.Cut(w, "=")
			arg[k] = v
		}
		number := func(k string) int { n, _ := strconv.Atoi(arg[k]); return n }
		var started []*Ticket
		says := ""
		switch words[1] {
		case "level":
			_, unlimited := arg["unlimited"]
			queuing = Queuing{Queues: number("queues"), Hand: number("hand"), Length: number("length"), Unlimited: unlimited}
			level = NewLevel(now, queuing, number("limit"))
		case "arrive":
			extra, _ := time.ParseDuration(arg["extra"])
			tk := &Ticket{Data: words[2]}
			tickets[words[2]] = tk
			var v Verdict
			v, started = level.Arrive(now, tk, Work{max(number("seats"), 1), number("final"), extra}, Hash("s", arg["flow"]))
			says = []string{"runs", "waits", "refused: queue-full", "refused: concurrency-limit"}[v]
			if r := v.Reason(); r != "" && !strings.HasSuffix(says, r) {
				t.Errorf("reason %q of %s", r, says)
			}
		case "finish":
			if !tickets[words[2]].Running() {
				t.Fatalf("%s: it does not run", line)
			}
			var linger time.Duration
			if linger, started = level.Finish(now, tickets[words[2]]); linger > 0 {
				says = "seats are held for " + linger.String()
			}
		case "release":
			started = level.Release(now, tickets[words[2]])
		case "cancel":
			var gone bool
			gone, started = level.Cancel(now, tickets[words[2]])
			says = fmt.Sprintf("gone: %v", gone)
		case "limit":
			n, _ := strconv.Atoi(words[2])
			started = level.Configure(now, queuing, n)
		case "queues":
			queuing.Queues, _ = strconv.Atoi(words[2])
			started = level.Configure(now, queuing, level.limit)
		default:
			t.Fatalf("no such step: %s", line)
		}
		if says != "" {
			fmt.Fprintf(&out, "> %s\n", says)
		}
		for _, s := range started {
			fmt.Fprintf(&out, "> %s starts\n", s.Data)
		}
		c := level.Counts()
		fmt.Fprintf(&out, "> %d waiting, %d running, %d of %d seats\n", c.Waiting, c.Running, c.Seats, c.Limit)
	}
	return out.String()
}
