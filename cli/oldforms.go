package cli

import (
	"fmt"
	"slices"
	"strings"
)

// plan is what to run for a kubectl command line: one step, or more where an old
// form needs several of today's. Notes tell the user the form of today.
type plan struct {
	Notes []string
	Steps []step
}

type step struct {
	Args  []string
	Stdin string // "" is the user's
}

// modernise turns forms of kubectl that courses still teach, and that today's
// kubectl dropped, into what they meant. Everything else passes as it is.
func modernise(args []string) plan {
	line, ok := parseLine(args)
	if !ok {
		return plan{Steps: []step{{Args: args}}}
	}
	var p plan
	switch line.verb {
	case "exec":
		if fixed, ok := line.execWithDashes(); ok {
			args = fixed
			p.note(args)
		}
	case "drain":
		if i := line.flag("--delete-local-data"); i >= 0 {
			args = slices.Clone(args)
			args[i] = strings.Replace(args[i], "--delete-local-data", "--delete-emptydir-data", 1)
			p.note(args)
		}
	case "run":
		if s, ok := line.runDeployment(); ok {
			p.Notes = append(p.Notes, "kubectl run makes a Pod today; for a Deployment: kubectl create deployment "+s.name+" --image="+s.image+" --replicas="+s.replicas)
			p.Steps = []step{{Args: s.createArgs(), Stdin: s.manifest()}}
			return p
		}
	}
	if i := line.flag("--record"); i >= 0 {
		return line.recorded(args, i)
	}
	p.Steps = []step{{Args: args}}
	return p
}

func (p *plan) note(args []string) {
	p.Notes = append(p.Notes, "the form of today: kubectl "+strings.Join(args, " "))
}

// line is a command line cut into its verb, flags and words.
type line struct {
	args  []string
	verb  string
	at    int   // index of the verb
	words []int // indices of words after the verb that are neither flags nor their values
	dash  int   // index of "--", or len(args)
}

// takesValue are the flags of kubectl whose value may be the next argument, as
// far as they occur with the verbs that modernise looks at, and the global ones.
var takesValue = strings.Fields(`-n --namespace --context --cluster --user --kubeconfig -s --server --token
 --as --as-group --as-uid -v --v --request-timeout --cache-dir --certificate-authority --client-certificate
 --client-key --tls-server-name --username --password --vmodule --kuberc
 -f --filename -k --kustomize -l --selector --labels -c --container -o --output --template --field-manager
 --image --port --replicas --env --restart --limits --requests --image-pull-policy --overrides --serviceaccount
 --pod-running-timeout --timeout --grace-period --pod-selector --current-replicas --resource-version
 -p --patch --patch-file --type --subresource --to-revision`)

func parseLine(args []string) (line, bool) {
	l := line{args: args, at: -1, dash: len(args)}
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			l.dash = i
			return l, l.at >= 0
		case strings.HasPrefix(a, "-") && a != "-":
			if slices.Contains(takesValue, a) || (len(a) > 2 && a[1] != '-' && slices.Contains(takesValue, "-"+a[len(a)-1:]) && isShortGroup(a)) {
				i++
			}
		case l.at < 0:
			l.verb, l.at = a, i
		default:
			l.words = append(l.words, i)
		}
	}
	return l, l.at >= 0
}

// isShortGroup tells "-itc" (flags i and t, then c with its value behind) from
// "-nfoo" (flag n with its value).
func isShortGroup(a string) bool {
	return strings.Trim(a[1:len(a)-1], "itq") == ""
}

// flag finds a flag before "--", by its name, with or without "=value".
func (l *line) flag(name string) int {
	for i, a := range l.args[:l.dash] {
		if a == name || strings.HasPrefix(a, name+"=") {
			return i
		}
	}
	return -1
}

// value of a flag, by any of its names.
func (l *line) value(names ...string) (string, bool) {
	for i, a := range l.args[:l.dash] {
		for _, n := range names {
			if a == n && i+1 < l.dash {
				return l.args[i+1], true
			}
			if v, ok := strings.CutPrefix(a, n+"="); ok {
				return v, true
			}
			if v, ok := strings.CutPrefix(a, n); ok && len(n) == 2 && v != "" {
				return v, true
			}
		}
	}
	return "", false
}

// execWithDashes puts "--" before the command of "exec POD COMMAND".
func (l *line) execWithDashes() ([]string, bool) {
	if l.dash < len(l.args) || len(l.words) < 2 {
		return nil, false
	}
	if _, ok := l.value("-f", "--filename"); ok {
		return nil, false
	}
	// Everything from the second word on is the command: its own flags too.
	return slices.Insert(slices.Clone(l.args), l.words[1], "--"), true
}

// recorded drops --record and annotates what the command changed afterwards.
func (l *line) recorded(args []string, at int) plan {
	_, value, _ := strings.Cut(args[at], "=")
	rest := slices.Delete(slices.Clone(args), at, at+1)
	p := plan{Steps: []step{{Args: rest}}}
	p.note(rest)
	targets := l.targets()
	if value == "false" || len(targets) == 0 {
		return p
	}
	cause := "kubectl " + strings.Join(args, " ")
	annotate := append([]string{"annotate", "--overwrite"}, l.global()...)
	annotate = append(annotate, targets...)
	p.Steps = append(p.Steps, step{Args: append(annotate, "kubernetes.io/change-cause="+cause)})
	p.Notes = append(p.Notes, "and then: kubectl annotate "+strings.Join(targets, " ")+" kubernetes.io/change-cause=...")
	return p
}

// targets are the arguments by which a second command finds the same objects.
func (l *line) targets() []string {
	var out []string
	for i, a := range l.args[:l.dash] {
		if (a == "-f" || a == "--filename" || a == "-k" || a == "--kustomize") && i+1 < l.dash {
			out = append(out, a, l.args[i+1])
		} else if strings.HasPrefix(a, "-f") || strings.HasPrefix(a, "--filename=") || strings.HasPrefix(a, "--kustomize=") {
			out = append(out, a)
		}
	}
	if len(out) > 0 {
		if slices.Contains(out, "-") {
			return nil // standard input has been read
		}
		return out
	}
	words := l.words
	switch l.verb {
	case "set", "rollout":
		if len(words) > 0 {
			words = words[1:]
		}
	case "run", "create", "delete":
		return nil
	}
	for _, i := range words {
		if w := l.args[i]; !strings.Contains(w, "=") && !strings.HasSuffix(w, "-") {
			out = append(out, w)
		}
	}
	return out
}

// global are the flags that say which cluster and namespace.
func (l *line) global() []string {
	var out []string
	for _, names := range [][]string{{"--namespace", "-n"}, {"--context"}, {"--kubeconfig"}, {"--cluster"}, {"--user"}, {"--server", "-s"}} {
		if v, ok := l.value(names...); ok {
			out = append(out, names[0]+"="+v)
		}
	}
	return out
}

// oldRun is "kubectl run NAME --image=I --replicas=N", which made a Deployment.
type oldRun struct {
	line                  *line
	name, image, replicas string
	port, labels, pull    string
	env, command          []string
	commandIsEntrypoint   bool
}

func (l *line) runDeployment() (oldRun, bool) {
	replicas, ok := l.value("--replicas")
	image, hasImage := l.value("--image")
	if !ok || !hasImage || len(l.words) == 0 {
		return oldRun{}, false
	}
	r := oldRun{line: l, name: l.args[l.words[0]], image: image, replicas: replicas}
	r.port, _ = l.value("--port")
	r.labels, _ = l.value("--labels", "-l")
	r.pull, _ = l.value("--image-pull-policy")
	for i, a := range l.args[:l.dash] {
		if v, ok := strings.CutPrefix(a, "--env="); ok {
			r.env = append(r.env, v)
		} else if a == "--env" && i+1 < l.dash {
			r.env = append(r.env, l.args[i+1])
		}
	}
	for _, w := range l.words[1:] {
		r.command = append(r.command, l.args[w])
	}
	if l.dash < len(l.args) {
		r.command = append(r.command, l.args[l.dash+1:]...)
	}
	r.commandIsEntrypoint = l.flag("--command") >= 0
	return r, true
}

func (r *oldRun) createArgs() []string {
	args := append([]string{"create", "-f", "-"}, r.line.global()...)
	for _, f := range []string{"--dry-run", "--save-config", "--validate"} {
		if i := r.line.flag(f); i >= 0 {
			args = append(args, r.line.args[i])
		}
	}
	if v, ok := r.line.value("--output", "-o"); ok {
		args = append(args, "--output="+v)
	}
	return args
}

func (r *oldRun) manifest() string {
	labels := r.labels
	if labels == "" {
		labels = "run=" + r.name
	}
	var pairs []string
	for _, l := range strings.Split(labels, ",") {
		k, v, _ := strings.Cut(l, "=")
		pairs = append(pairs, fmt.Sprintf("%q: %q", strings.TrimSpace(k), strings.TrimSpace(v)))
	}
	set := "{" + strings.Join(pairs, ", ") + "}"
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %q, labels: %s}\n", r.name, set)
	fmt.Fprintf(&b, "spec:\n  replicas: %s\n  selector: {matchLabels: %s}\n", r.replicas, set)
	fmt.Fprintf(&b, "  template:\n    metadata: {labels: %s}\n    spec:\n      containers:\n      - name: %q\n        image: %q\n", set, r.name, r.image)
	if r.pull != "" {
		fmt.Fprintf(&b, "        imagePullPolicy: %q\n", r.pull)
	}
	if r.port != "" {
		fmt.Fprintf(&b, "        ports: [{containerPort: %s}]\n", r.port)
	}
	if len(r.env) > 0 {
		b.WriteString("        env:\n")
		for _, e := range r.env {
			k, v, _ := strings.Cut(e, "=")
			fmt.Fprintf(&b, "        - {name: %q, value: %q}\n", k, v)
		}
	}
	if len(r.command) > 0 {
		field := "args"
		if r.commandIsEntrypoint {
			field = "command"
		}
		quoted := make([]string, len(r.command))
		for i, c := range r.command {
			quoted[i] = fmt.Sprintf("%q", c)
		}
		fmt.Fprintf(&b, "        %s: [%s]\n", field, strings.Join(quoted, ", "))
	}
	return b.String()
}
