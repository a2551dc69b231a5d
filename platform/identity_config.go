package platform

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// identityConfig are the flags of who may ask and what they may do, under the names
// that kube-apiserver gives them.
type identityConfig struct {
	anonymous       bool
	clientCAFile    string
	tokenAuthFile   string
	bootstrapTokens bool
	requestHeader   requestHeaderConfig
	audit           auditConfig
}

// requestHeaderConfig tells how a front proxy names the user.
type requestHeaderConfig struct {
	caFile        string
	allowed       []string
	names         []string
	uids          []string
	groups        []string
	extraPrefixes []string
}

func (c *identityConfig) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&c.anonymous, "anonymous-auth", true, "let requests without an identity pass as system:anonymous of the group system:unauthenticated")
	fs.StringVar(&c.clientCAFile, "client-ca-file", "", "file of further authorities (PEM) whose client certificates are users, besides the cluster's own")
	fs.StringVar(&c.tokenAuthFile, "token-auth-file", "", "file of static tokens: lines of token,user,uid,\"group,group\"")

	fs.BoolVar(&c.bootstrapTokens, "enable-bootstrap-token-auth", true, "let Secrets of the type bootstrap.kubernetes.io/token in kube-system be tokens of machines that join")
	c.audit.flags(fs)
	h := &c.requestHeader
	fs.StringVar(&h.caFile, "requestheader-client-ca-file", "", "file of further authorities (PEM) of front proxies, besides the cluster's own")
	fs.StringSliceVar(&h.allowed, "requestheader-allowed-names", []string{"front-proxy-client"}, "common names of the certificates of front proxies; empty allows every certificate of their authorities")
	fs.StringSliceVar(&h.names, "requestheader-username-headers", []string{"X-Remote-User"}, "headers in which a front proxy tells the user")
	fs.StringSliceVar(&h.uids, "requestheader-uid-headers", []string{"X-Remote-Uid"}, "headers in which a front proxy tells the user's uid")
	fs.StringSliceVar(&h.groups, "requestheader-group-headers", []string{"X-Remote-Group"}, "headers in which a front proxy tells the groups")
	fs.StringSliceVar(&h.extraPrefixes, "requestheader-extra-headers-prefix", []string{"X-Remote-Extra-"}, "prefixes of the headers in which a front proxy tells the rest")
}

// settle checks what can be checked without reading a file, and makes paths absolute:
// a process in the background has another working directory.
func (c *identityConfig) settle() error {
	for _, path := range append(c.audit.paths(), &c.clientCAFile, &c.tokenAuthFile, &c.requestHeader.caFile) {
		if *path == "" || *path == "-" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	if err := c.audit.check(); err != nil {
		return err
	}
	for flag, list := range map[string][]string{
		"requestheader-username-headers": c.requestHeader.names, "requestheader-uid-headers": c.requestHeader.uids,
		"requestheader-group-headers": c.requestHeader.groups, "requestheader-extra-headers-prefix": c.requestHeader.extraPrefixes,
	} {
		for i, h := range list {
			if list[i] = strings.TrimSpace(h); list[i] == "" {
				return &Fault{What: fmt.Sprintf("--%s has an empty header name", flag), Do: "leave the flag out, or give names like X-Remote-User"}
			}
		}
	}
	return nil
}

// fileFault is what to say about a file of a flag that cannot be used.
func fileFault(flag, path string, err error) error {
	return &Fault{What: fmt.Sprintf("--%s=%s: %v", flag, path, err), Do: "repair the file, or leave the flag out", Err: err}
}
