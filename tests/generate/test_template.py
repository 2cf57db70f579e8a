import datetime
import json

import pytest
from checkpoints.small_tokenizers import byte_level
from transformers import PreTrainedTokenizerFast

from mmedge.errors import MmedgeError
from mmedge.generate.template import ChatTemplate, read_template

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": '  Is 1 < 2 & "so" on? 猫 '},
    {"role": "assistant", "content": "Yes.\n"},
    {"role": "user", "content": "Why?"},
]
PARTS = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]

# Each in the manner of a family of checkpoints.
TEMPLATES = {
    "marked": """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
    "bracketed": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{%- for message in rest %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate: user, assistant, user') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if loop.last and system is defined %}
            {{- '[INST] ' + system + '\\n\\n' + message['content'] + '[/INST]' }}
        {%- else %}
            {{- '[INST] ' + message['content'] + '[/INST]' }}
        {%- endif %}
    {%- else %}
        {{- ' ' + message['content'] + eos_token }}
    {%- endif %}
{%- endfor %}""",
    "looking back": """{%- set ns = namespace(last=-1, thought=false) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if message.role == 'user' and message.content is string and ns.last < 0 %}
        {%- set ns.last = index %}
    {%- endif %}
    {%- if ns.last >= 0 %}{% break %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}{% continue %}{% endif %}
    {{- '<|' + message.role + '|>' + (message | tojson) + (message | tojson(indent=1)) }}
    {%- if loop.index0 == ns.last %}{{- '<here>' }}{% endif %}
{%- endfor %}
{%- if tools %}{{- tools | tojson }}{% endif %}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think></think>' }}{% endif %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{% endif %}""",
    "dated": """{{- 'Today: ' + strftime_now('%d %B %Y') + '\\n' }}
{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{% set word = 'inside' %}{{- message['content'].lstrip('\\n') + '<end>' }}{% endgeneration %}
    {%- else %}
        {{- message['role'].upper() + ': ' + message['content'].split('?')[0].replace('Is', 'Was') + (word | default('outside')) }}
    {%- endif %}
{%- endfor %}
{%- for key, value in {'a': 1, 'b': none}.items() %}{{- key ~ value }}{% endfor %}
{%- for number in range(3) if number is odd %}{{- number }}{% endfor %}
{{- dict(a=1).a }}""",
    "parted": """{%- macro said(content) %}
{%- if content is string %}{{- content }}{% else %}
{%- for part in content %}{{- '<image>' if part.type == 'image' else part['text'] }}{% endfor %}
{%- endif %}
{%- endmacro %}
{%- for message in messages %}
{{- message.role | capitalize }}: {{ said(message.content) }}<end>
{% endfor %}
{%- if add_generation_prompt %}{{- 'Assistant:' }}{% endif %}""",
}


def saved(folder, template):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level(), bos_token="<s>", eos_token="</s>", chat_template=template)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("asked", [True, False])
def test_prompts_are_those_of_transformers(name, asked, tmp_path):
    reference = saved(tmp_path, TEMPLATES[name])
    template = read_template(tmp_path)
    talks = [TALK, TALK[1:], TALK[1:2], *([PARTS] if name in ("parted", "looking back") else [])]
    prompts = [template.render(talk, asked) for talk in talks]
    assert prompts == [reference.apply_chat_template(talk, tokenize=False, add_generation_prompt=asked) for talk in talks]
    assert len(set(prompts)) == len(talks) and all(prompts)


def test_the_date_may_be_given():
    template = ChatTemplate(TEMPLATES["dated"], {})
    assert template.render(TALK, now=datetime.datetime(2026, 2, 3)).startswith("Today: 03 February 2026\n")


@pytest.mark.parametrize("form", ["jinja file", "settings", "named", "processor", "token objects"])
def test_the_template_is_found_wherever_versions_of_transformers_put_it(form, tmp_path):
    saved(tmp_path, None)
    settings, text = json.loads((tmp_path / "tokenizer_config.json").read_text()), "{{ bos_token }}{{ messages[0].content }}"
    assert read_template(tmp_path) is None
    if form == "jinja file":
        (tmp_path / "chat_template.jinja").write_text(text)
        settings["chat_template"] = "older"
    elif form == "processor":
        (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": text}))
    else:
        settings["chat_template"] = text if form != "named" else [{"name": "tool_use", "template": "other"}, {"name": "default", "template": text}]
    if form == "token objects":
        settings["bos_token"] = {"content": "<s>", "special": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert read_template(tmp_path).render(TALK) == "<s>Be brief."


def test_a_folder_without_anything_has_no_template(tmp_path):
    assert read_template(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(MmedgeError, match=r"tokenizer_config\.json cannot be read"):
        read_template(tmp_path)


def test_what_the_template_refuses_is_told_in_its_words():
    with pytest.raises(MmedgeError, match="roles must alternate"):
        ChatTemplate(TEMPLATES["bracketed"], {"bos_token": "<s>"}).render([TALK[1], TALK[3]])


def test_messages_that_it_was_not_written_for_are_one_error():
    for template in ("{{ messages[0].content.nothing.more }}", "{{ messages[0].content + 1 }}", "{{ 1 // 0 }}", "{{ undefined_function() }}"):
        with pytest.raises(MmedgeError, match="does not take these messages"):
            ChatTemplate(template, {}).render(TALK)


def test_a_broken_template_is_named():
    for text in ("{% for %}", "{{ messages", "{% include 'x' %}{% nothing %}", "{{ 'a' | nothing }}"):
        with pytest.raises(MmedgeError, match="chat template cannot be read"):
            ChatTemplate(text, {})


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ('' | attr('__class__')).__mro__ }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ raise_exception.__globals__['json'] }}",
    "{{ strftime_now.__self__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{a.__class__}'.format_map({'a': ''}) }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ lipsum.__globals__ }}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}{{ ns }}",
    "{{ namespace(__class__=1) }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(a=1) }}",
    "{{ messages[0].content.picture.save('/tmp/x') }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
    "{{ range(10000000) | list }}",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_there_is_no_way_out(text):
    try:
        shown = ChatTemplate(text, {}).render([{"role": "user", "content": "hello"}])
    except MmedgeError:
        return
    assert shown in ("", "{}"), shown  # an attribute that the sandbox does not show is undefined


def test_objects_in_messages_are_not_shown_to_the_template():
    class Picture:
        def save(self, path):
            raise AssertionError

    talk = [{"role": "user", "content": [{"type": "image", "image": Picture()}]}]
    assert ChatTemplate("{{ messages[0].content[0].image }}", {}).render(talk) == "<Picture>"
    with pytest.raises(MmedgeError):
        ChatTemplate("{{ messages[0].content[0].image.save('x') }}", {}).render(talk)


@pytest.mark.parametrize("wrong", ["hello", {"role": "user"}, ["hello"], [{"content": "hello"}], [{"role": 1}]])
def test_what_are_no_messages_is_refused(wrong):
    with pytest.raises(MmedgeError, match="no messages"):
        ChatTemplate("", {}).render(wrong)
