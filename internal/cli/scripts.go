package cli

import (
	"fmt"
	"slices"
	"strings"
)

// Shells are the shells that Script knows.
func Shells() []string { return []string{"bash", "fish", "powershell", "zsh"} }

// Script returns the completion script of a shell for the named program. The
// script runs helper, arguments of the program, followed by "--" and the words up
// to the cursor; it reads one candidate a line, with a description after a tab.
func Script(shell, program, helper string) (string, error) {
	text, ok := scripts[shell]
	if !ok {
		return "", fmt.Errorf("no completion for shell %q; there is one for %s", shell, strings.Join(Shells(), ", "))
	}
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '.' {
			return '_'
		}
		return r
	}, program)
	words := strings.Fields(helper)
	quoted := slices.Clone(words)
	for i, w := range quoted {
		quoted[i] = "'" + w + "'"
	}
	return strings.NewReplacer("%PROGRAM%", program, "%NAME%", name, "%HELPER%", helper,
		"%QUOTED%", strings.Join(quoted, ", ")).Replace(text), nil
}

var scripts = map[string]string{
	"bash": `# bash completion for %PROGRAM%. To load it in every session:
#   %PROGRAM% completion bash > /etc/bash_completion.d/%PROGRAM%
_%NAME%_complete() {
    local words=() i line prefix=""
    for ((i = 1; i <= COMP_CWORD; i++)); do
        # bash splits words at "="; put them together again.
        if ((i > 1)) && [[ ${COMP_WORDS[i]} == "=" || ${COMP_WORDS[i-1]} == "=" ]]; then
            words[${#words[@]}-1]+="${COMP_WORDS[i]}"
        else
            words+=("${COMP_WORDS[i]}")
        fi
    done
    local current="${words[${#words[@]}-1]}"
    [[ $current == -*=* ]] && prefix="${current%%=*}="
    COMPREPLY=()
    while IFS=$'\t' read -r line _; do
        COMPREPLY+=("${line#"$prefix"}")
    done < <("$1" %HELPER% -- "${words[@]}" 2>/dev/null)
}
complete -o default -F _%NAME%_complete %PROGRAM%
`,
	"zsh": `#compdef %PROGRAM%
# zsh completion for %PROGRAM%. To load it in every session, with compinit on:
#   %PROGRAM% completion zsh > "${fpath[1]}/_%PROGRAM%"
_%NAME%() {
    local -a values described
    local value description
    while IFS=$'\t' read -r value description; do
        [[ -z $value ]] && continue
        values+=("$value")
        described+=("${value//:/\\:}${description:+:$description}")
    done < <("${words[1]}" %HELPER% -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#values} )); then
        _describe '%PROGRAM%' described values
    else
        _files
    fi
}
if [[ $funcstack[1] == _%NAME% ]]; then
    _%NAME% "$@"
else
    compdef _%NAME% %PROGRAM%
fi
`,
	"fish": `# fish completion for %PROGRAM%. To load it in every session:
#   %PROGRAM% completion fish > ~/.config/fish/completions/%PROGRAM%.fish
function __%NAME%_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -e words[1]
    set -l current (commandline --current-token --cut-at-cursor)
    set -l found (%PROGRAM% %HELPER% -- $words "$current" 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path "$current"
    end
end
complete --command %PROGRAM% --no-files --arguments '(__%NAME%_complete)'
`,
	"powershell": `# PowerShell completion for %PROGRAM%. To load it in every session:
#   %PROGRAM% completion powershell >> $PROFILE
Register-ArgumentCompleter -Native -CommandName '%PROGRAM%' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.StartOffset -lt $cursorPosition } | ForEach-Object { "$_" })
    if ($wordToComplete -eq '') { $words += '""' }
    & '%PROGRAM%' @(%QUOTED%) -- @words 2>$null | ForEach-Object {
        $value, $description = $_ -split "` + "`" + `t", 2
        if (-not $description) { $description = $value }
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $description)
    }
}
`,
}
