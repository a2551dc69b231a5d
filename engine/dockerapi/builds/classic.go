package builds

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/session"
	"github.com/moby/moby/api/types/registry"
	"github.com/tonistiigi/fsutil"

	"skiff.dev/skiff/engine/dockerapi/route"
)

const defaultDockerfile = "Dockerfile"

// classic builds the archive that is the body, and answers as Docker's classic
// builder.
func (a *Area) classic(ctx context.Context, r *route.Request, p *params, out *route.Messages) (err error) {
	dir, drop, err := a.o.Builder.NewContext()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop()) }()
	if p.remote == "" {
		err = receive(dir, r.Body)
	} else {
		err = fetchContext(ctx, dir, p.remote)
	}
	if err != nil {
		return err
	}
	name, text, err := readDockerfile(dir, p.dockerfile)
	if err != nil {
		return err
	}
	pl, err := newPlan(text, p)
	if err != nil {
		return err
	}
	if err := pl.checkPatterns(dir); err != nil {
		return err
	}
	b := &classicBuild{area: a, p: p, plan: pl, out: out, dir: dir, name: name, text: text, auth: readAuth(r.Header.Get("X-Registry-Config"))}
	b.print = newPrinter(pl, b.say)
	b.print.remove, b.print.fresh, b.print.baseID = p.remove, p.request.NoCache, b.baseID
	return b.run(ctx)
}

// readDockerfile finds the Dockerfile below dir, and nowhere else.
func readDockerfile(dir, name string) (string, []byte, error) {
	given := name
	if name == "" {
		name = defaultDockerfile
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", nil, route.Internalf("forbidden path outside the build context: %s ()", name)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", nil, err
	}
	defer root.Close()
	f, err := root.Open(clean)
	if errors.Is(err, fs.ErrNotExist) && (given == "" || given == defaultDockerfile) {
		if f, err = root.Open(strings.ToLower(defaultDockerfile)); err == nil {
			clean = strings.ToLower(defaultDockerfile)
		}
	}
	if err != nil {
		return "", nil, route.Internalf("Cannot locate specified Dockerfile: %s", name)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", nil, route.Internalf("Cannot locate specified Dockerfile: %s", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDockerfile+1))
	switch {
	case err != nil:
		return "", nil, err
	case len(text) > maxDockerfile:
		return "", nil, route.Invalid(&ContextError{name, fmt.Sprintf("a Dockerfile of more than %d bytes", maxDockerfile)})
	case len(text) == 0:
		return "", nil, route.Invalidf("the Dockerfile (%s) cannot be empty", name)
	}
	return clean, text, nil
}

// readAuth reads the credentials that come with a build; a broken header is none.
func readAuth(header string) map[string]registry.AuthConfig {
	var auth map[string]registry.AuthConfig
	b, err := base64.URLEncoding.DecodeString(header)
	if err != nil || json.Unmarshal(b, &auth) != nil {
		return nil
	}
	return auth
}

// classicBuild is one build.
type classicBuild struct {
	area  *Area
	p     *params
	plan  *plan
	print *printer
	out   *route.Messages
	dir   string
	name  string // of the Dockerfile
	text  []byte
	auth  map[string]registry.AuthConfig
}

func (b *classicBuild) say(text string) error {
	if b.p.quiet {
		return nil
	}
	return b.out.Text(text)
}

// baseID is the id of an image of the store, "" if it has none of the name.
func (b *classicBuild) baseID(name string) string {
	img, err := b.area.o.Images.Resolve(context.Background(), name)
	if err != nil {
		return ""
	}
	return img.Target.Digest.String()
}

func (b *classicBuild) run(ctx context.Context) error {
	end := len(b.plan.steps)
	for i := range b.plan.steps {
		if b.plan.steps[i].refused != nil {
			end = i
			break
		}
	}
	var id string
	var err error
	switch {
	case end < len(b.plan.steps):
		return b.refuse(ctx, end)
	case b.plan.noImage:
		if err := b.print.finish(""); err != nil {
			return err
		}
		//lint:ignore ST1005 Docker's words
		return b.fail(0, errors.New("No image was generated. Is your Dockerfile empty?"))
	case b.plan.baseOnly != "" && b.baseID(b.plan.baseOnly) != "" && !b.p.request.Pull:
		id, err = b.tagBase(ctx)
	default:
		id, err = b.solve(ctx, b.text, false)
	}
	if err != nil {
		return b.failBuild(ctx, err)
	}
	if err := b.print.finish(id); err != nil {
		return err
	}
	return b.done(id)
}

// tagBase names the base image: no instruction changes it.
func (b *classicBuild) tagBase(ctx context.Context) (string, error) {
	img, err := b.area.o.Images.Resolve(ctx, b.plan.baseOnly)
	if err != nil {
		return "", err
	}
	return img.Target.Digest.String(), b.area.o.Images.Adopt(ctx, img.Target, "", b.p.tags)
}

// refuse builds what comes before a step that is refused, as the classic builder
// finds out when it comes to it.
func (b *classicBuild) refuse(ctx context.Context, end int) error {
	before := bytes.SplitAfter(b.text, []byte("\n"))[:b.plan.steps[end].first-1]
	works := false
	for _, s := range b.plan.steps[:end] {
		works = works || s.layer > 0
	}
	if works {
		if _, err := b.solve(ctx, bytes.Join(before, nil), true); err != nil {
			return b.failBuild(ctx, err)
		}
	}
	if err := b.print.stopAt(end); err != nil {
		return err
	}
	return b.fail(0, b.plan.steps[end].refused)
}

// solve builds by BuildKit. A part of a Dockerfile makes no image.
func (b *classicBuild) solve(ctx context.Context, text []byte, part bool) (string, error) {
	files, err := fsutil.NewFS(b.dir)
	if err != nil {
		return "", err
	}
	q := b.p.request
	q.ID, q.Context, q.Filename, q.Tags = b.p.id, files, b.name, b.p.tags
	q.SharedKey = "classic:" + strings.Join(b.p.tags, ",")
	q.Session = []session.Attachable{newCredentials(b.auth)}
	if part {
		dir, drop, err := b.area.o.Builder.NewContext()
		if err != nil {
			return "", err
		}
		defer drop() //nolint:errcheck // it is swept at the next start
		q.Filename, q.Target, q.Tags, q.NoImage = defaultDockerfile, "", nil, true
		if err := os.WriteFile(filepath.Join(dir, q.Filename), text, 0o600); err != nil {
			return "", err
		}
		if q.Dockerfile, err = fsutil.NewFS(dir); err != nil {
			return "", err
		}
	}
	res, err := b.area.o.Builder.Build(ctx, q, b.print.take)
	return res.Digest.String(), err
}

func (b *classicBuild) failBuild(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return b.fail(0, errors.New("Build cancelled")) //lint:ignore ST1005 Docker's words
	}
	i, ok := b.plan.stepAt(err)
	if !ok {
		i, ok = b.plan.adding(err.Error())
	}
	if !ok {
		i, ok = b.print.failedStep()
	}
	if !ok {
		i = min(b.print.at, len(b.plan.steps)-1)
	}
	if perr := b.print.stopAt(i); perr != nil {
		return perr
	}
	code, err := classicError(&b.plan.steps[i], err)
	return b.fail(code, err)
}

func (b *classicBuild) fail(code int, err error) error { return sendError(b.out, code, err.Error()) }

// done prints what has come out of it.
func (b *classicBuild) done(id string) error {
	b.area.tell(id, b.p.tags)
	if b.p.quiet {
		return b.out.Text(id + "\n")
	}
	if err := b.out.Aux("", map[string]string{"ID": id}); err != nil {
		return err
	}
	if len(b.plan.unused) > 0 {
		if err := b.say(fmt.Sprintf("[Warning] One or more build-args %v were not consumed\n", b.plan.unused)); err != nil {
			return err
		}
	}
	if err := b.say("Successfully built " + short(id) + "\n"); err != nil {
		return err
	}
	for _, t := range b.p.tags {
		ref, err := reference.ParseNormalizedNamed(t)
		if err != nil {
			return err
		}
		if err := b.say("Successfully tagged " + reference.FamiliarString(ref) + "\n"); err != nil {
			return err
		}
	}
	return nil
}
