<!doctype html><title>cart</title><p>{if $visits > 1}welcome back{else}welcome{/if}</p>
