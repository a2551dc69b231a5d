package core

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// projected judges a volume of several sources, whose files may not collide. Some
// of its errors are told of the whole volume.
func (c *podCheck) projected(p *v1.ProjectedVolumeSource, path *field.Path) {
	l := &c.List
	mode(l, p.DefaultMode, path.Child("defaultMode"))
	taken := map[string]bool{}
	once := func(file string, value string) {
		if taken[file] {
			l.Invalid(path, value, duplicatedPaths)
		}
		taken[file] = true
	}
	unlessEmpty := func(value string) func(string) {
		return func(file string) {
			if file != "" {
				once(file, value)
			}
		}
	}
	for i := range p.Sources {
		s, at := &p.Sources[i], path.Child("sources").Index(i)
		count := 0
		if s.Secret != nil {
			count++
			l.Need(at.Child("secret"), "name", s.Secret.Name)
			keyPaths(l, s.Secret.Items, at.Child("secret", "items"), unlessEmpty(s.Secret.Name))
		}
		if s.ConfigMap != nil {
			count++
			l.Need(at.Child("configMap"), "name", s.ConfigMap.Name)
			keyPaths(l, s.ConfigMap.Items, at.Child("configMap", "items"), unlessEmpty(s.ConfigMap.Name))
		}
		if s.DownwardAPI != nil {
			count++
			for j := range s.DownwardAPI.Items {
				f := &s.DownwardAPI.Items[j]
				c.downwardFile(f, at.Child("downwardAPI"))
				unlessEmpty(f.Path)(f.Path)
			}
		}
		if s.ServiceAccountToken != nil {
			count++
			c.token(s.ServiceAccountToken, at.Child("serviceAccountToken"), path)
		}
		if s.ClusterTrustBundle != nil {
			count++
			c.trustBundle(s.ClusterTrustBundle, at.Child("clusterTrustBundle"))
			once(s.ClusterTrustBundle.Path, s.ClusterTrustBundle.Path)
		}
		if s.PodCertificate != nil {
			count++
			c.podCertificate(s.PodCertificate, at.Child("podCertificate"), func(file string) { once(file, file) })
		}
		if count > 1 {
			l.Forbidden(at, "may not specify more than 1 volume type per source")
		}
	}
}

func (c *podCheck) token(t *v1.ServiceAccountTokenProjection, path, volume *field.Path) {
	seconds := int64(0)
	if t.ExpirationSeconds != nil {
		seconds = *t.ExpirationSeconds
	}
	if seconds < 10*60 {
		c.Invalid(path.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes")
	}
	if seconds > 1<<32 {
		c.Invalid(path.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds")
	}
	if t.Path == "" {
		c.Required(volume.Child("path"), "")
	} else if !c.allow.tokenPath {
		c.Add(rules.FilePath(t.Path, volume.Child("path"))...)
	}
}

// tokenPaths judges the paths of projected tokens alone.
func (c *podCheck) tokenPaths(path *field.Path) {
	for i := range c.spec.Volumes {
		p := c.spec.Volumes[i].Projected
		if p == nil {
			continue
		}
		for j := range p.Sources {
			if t := p.Sources[j].ServiceAccountToken; t != nil && t.Path != "" {
				c.Add(rules.FilePath(t.Path, path)...)
			}
		}
	}
}

func (c *podCheck) trustBundle(b *v1.ClusterTrustBundleProjection, path *field.Path) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		c.Invalid(path, rules.Internal(b), "only one of name and signerName may be used")
	case b.Name != nil:
		if *b.Name == "" {
			c.Required(path.Child("name"), "must be a valid object name")
		}
		for _, msg := range bundleName(*b.Name) {
			c.Invalid(path.Child("name"), *b.Name, fmt.Sprintf("not a valid clustertrustbundlename: %v", msg))
		}
		if b.LabelSelector != nil {
			c.Invalid(path.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified")
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			c.Required(path.Child("signerName"), "must be a valid signer name")
		}
		c.Add(ValidateSignerName(*b.SignerName, path.Child("signerName"))...)
		c.selector(b.LabelSelector, false, path.Child("labelSelector"))
	default:
		c.Required(path, "either name or signerName must be specified")
	}
	c.Need(path, "path", b.Path)
	c.Add(rules.FilePath(b.Path, path.Child("path"))...)
}

// bundleName judges the name of a ClusterTrustBundle: that of a signed one begins
// with its signer, as example.com:signer:name.
func bundleName(name string) []string {
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	return apivalidation.NameIsDNSSubdomain(name, false)
}

func (c *podCheck) podCertificate(p *v1.PodCertificateProjection, path *field.Path, once func(string)) {
	c.Add(ValidateSignerName(p.SignerName, path.Child("signerName"))...)
	if p.UserAnnotations != nil {
		c.Add(userAnnotations(p.UserAnnotations, path.Child("userAnnotations"))...)
	}
	rules.Supported(&c.List, path.Child("keyType"), p.KeyType, "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
	if p.MaxExpirationSeconds != nil {
		most := int32(91 * 24 * 60 * 60)
		if host, _, _ := strings.Cut(p.SignerName, "/"); host == "kubernetes.io" || strings.HasSuffix(host, ".kubernetes.io") {
			most = 24 * 60 * 60
		}
		at := path.Child("maxExpirationSeconds")
		if *p.MaxExpirationSeconds < 3600 {
			c.Invalid(at, *p.MaxExpirationSeconds, "if provided, maxExpirationSeconds must be >= 3600")
		}
		if *p.MaxExpirationSeconds > most {
			c.Invalid(at, *p.MaxExpirationSeconds, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", most))
		}
	}
	files := 0
	for _, f := range []struct{ name, path string }{
		{"credentialBundlePath", p.CredentialBundlePath}, {"keyPath", p.KeyPath}, {"certificateChainPath", p.CertificateChainPath},
	} {
		if f.path == "" {
			continue
		}
		files++
		c.Add(rules.FilePath(f.path, path.Child(f.name))...)
		once(f.path)
	}
	if files == 0 {
		c.Required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath")
	}
}

func userAnnotations(a map[string]string, path *field.Path) field.ErrorList {
	var l rules.List
	for key := range a {
		l.Add(validation.IsDomainPrefixedKey(path, strings.ToLower(key))...)
	}
	if apivalidation.ValidateAnnotationsSize(a) != nil {
		l.TooLong(path, apivalidation.TotalAnnotationSizeLimitB)
	}
	return l.Errors()
}
