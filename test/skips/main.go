// Command skips reads `go test -json` and prints what `go test` prints. It fails
// when a test failed and, where CI is set, also when one was skipped for want of
// what CI has: such a skip there hides something.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// given is what CI has: it is root, and make gives the rest.
var given = []string{"root", "kubectl", "/bin/busybox", "runc"}

type event struct {
	Action, Package, Test, Output string
}

// unended returns the keys of a package's tests in output, in order.
func unended(output map[string][]string, pkg string) []string {
	var keys []string
	for key := range output {
		if strings.HasPrefix(key, pkg+" ") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	failed := false
	output := map[string][]string{} // of tests that have not ended
	passed, failures := 0, 0
	var skipped []string
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text()) // what the build says
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if e.Test == "" {
				if o := strings.TrimSpace(e.Output); o != "PASS" && !strings.HasPrefix(o, "?") {
					fmt.Print(e.Output)
				}
				break
			}
			output[key] = append(output[key], e.Output)
		case "fail":
			failed = true
			failures++
			fmt.Print(strings.Join(output[key], ""))
			delete(output, key)
			if e.Test == "" { // a process that died inside a test says nothing of that test's end
				for _, key := range unended(output, e.Package) {
					fmt.Printf("did not end: %s\n%s", key, strings.Join(output[key], ""))
					delete(output, key)
				}
			}
		case "skip":
			if e.Test != "" {
				skipped = append(skipped, key+": "+strings.TrimSpace(strings.Join(output[key], "")))
			}
			delete(output, key)
		case "pass":
			if e.Test != "" {
				passed++
			}
			delete(output, key)
		}
	}
	if err := in.Err(); err != nil {
		fmt.Println("skips:", err)
		failed = true
	}
	for _, s := range skipped {
		fmt.Println("skipped", s)
		if os.Getenv("CI") == "" {
			continue
		}
		for _, g := range given {
			if strings.Contains(s, "needs "+g) {
				fmt.Println("skips: CI must have", g)
				failed = true
			}
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failures, len(skipped))
	if failed {
		os.Exit(1)
	}
}
